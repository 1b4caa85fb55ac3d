/*
 * Which sanitizer this is built with: gcc and clang say so in different ways.
 */
#ifndef HC_BASE_SANITIZER_H
#define HC_BASE_SANITIZER_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HC_ADDRESS_SANITIZER
#endif
#if __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HC_OTHER_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(HC_ADDRESS_SANITIZER)
#define HC_ADDRESS_SANITIZER
#endif
#if defined(__SANITIZE_THREAD__) && !defined(HC_OTHER_SANITIZER)
#define HC_OTHER_SANITIZER
#endif

#endif
