# harcad: build, test, install. `make help` lists the targets.
#
#   proto/lua/*.lua ─→ build/gen/proto/lua_scripts.{c,h}
#   proto/*.c daemon/*/*.c ─→ BUILD/libharcad.a ─┬─ daemon/main.c ─→ BUILD/harcad
#                                                ├─ tests/unit/*/test_*.c ─→ BUILD/unit/*/test_*
#                                                ├─ tests/sim/*.c ─→ BUILD/*, programs that measure
#                                                └─ tests/fuzz/fuzz_*.c ─→ BUILD/replay_*, build/fuzz/fuzz_*
#
# Variables:
#   VARIANT=release|asan|tsan|gcov|fuzz   BUILD is build/ for release, build/VARIANT for the others
#   WERROR=1                              warnings are errors (CI and `make check`)
#   CC=clang, CFLAGS=…, LDFLAGS=…         as usual
#   V=1                                   whole command lines
#   PREFIX, DESTDIR, SYSCONFDIR           for install
#   FUZZ_SECONDS=60                       how long `make fuzz` runs each target
#   HISTORY_RUNS=200                      how many runs `make check-history` makes
#   ARGS=…                                options for scripts/bench, as in `make bench ARGS='--write'`

VARIANT ?= release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
FUZZ_SECONDS ?= 60
KILLS ?= 320
HISTORY_RUNS ?= 200

BUILD := $(if $(filter release,$(VARIANT)),build,build/$(VARIANT))
GEN := build/gen

ifeq ($(VARIANT),fuzz)
override CC := clang
endif
ifeq ($(origin CC),default)
CC := gcc
endif

# ---- flags ----

ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
PKGS := libevent_core libevent_extra libevent_pthreads hiredis inih libxxhash

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
HARDEN_x86_64 := -fstack-clash-protection -fcf-protection=full
HARDEN_aarch64 := -fstack-clash-protection -mbranch-protection=standard
HARDEN := -fstack-protector-strong -fPIE $(HARDEN_$(ARCH))
SAN := -O1 -fno-omit-frame-pointer

OPTIMIZE_release := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
OPTIMIZE_asan := $(SAN) -fsanitize=address,undefined -fno-sanitize-recover=undefined
OPTIMIZE_tsan := $(SAN) -fsanitize=thread
OPTIMIZE_gcov := -O0 --coverage
OPTIMIZE_fuzz := $(SAN) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
OPTIMIZE := $(OPTIMIZE_$(VARIANT))
$(if $(OPTIMIZE),,$(error VARIANT=$(VARIANT): one of release, asan, tsan, gcov, fuzz))

HC_CPPFLAGS := -D_GNU_SOURCE -I. -Idaemon -I$(GEN) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
HC_CFLAGS := -std=c17 -g -pthread $(OPTIMIZE) $(HARDEN) $(WARNINGS)
HC_LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now,--as-needed $(filter -fsanitize=% --coverage,$(OPTIMIZE))
HC_LIBS = $(shell pkg-config --libs $(PKGS)) -lm
CHECK_LIBS = $(shell pkg-config --libs check)

COMPILE = $(CC) $(HC_CPPFLAGS) $(CPPFLAGS) $(HC_CFLAGS) $(CFLAGS) $(if $(WERROR),-Werror) -MMD -MP
LINK = $(CC) $(HC_LDFLAGS) $(LDFLAGS) -o $@

Q := $(if $(V),,@)
tell = $(if $(V),,@printf '  %-4s %s\n' $(1) $@)

# ---- what there is ----

LUA_WHOLE := $(sort $(wildcard proto/lua/whole/*.lua))
LUA := $(sort $(wildcard proto/lua/*.lua)) $(LUA_WHOLE)
LUA_BEFORE := proto/lua/shared/frames.lua
LIB_SRC := $(sort $(wildcard proto/*.c daemon/*/*.c))
UNIT_SRC := $(sort $(wildcard tests/unit/*/test_*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
SIM_SRC := $(sort $(wildcard tests/sim/*.c))
# Loaded into a daemon by a test, which compiles it; in a unit test it would take the place of libc's calls.
PRELOADED_SRC := tests/support/failing_disk.c
SUPPORT_SRC := $(filter-out $(PRELOADED_SRC),$(sort $(wildcard tests/support/*.c)))
C_FILES := $(sort $(LIB_SRC) $(wildcard daemon/main.c) $(UNIT_SRC) $(SUPPORT_SRC) $(PRELOADED_SRC) \
	$(wildcard tests/fuzz/*.c tests/sim/*.c))
H_FILES := $(sort $(wildcard proto/*.h daemon/*.h daemon/*/*.h tests/*/*.h))
SCRIPTS := scripts/start scripts/test scripts/check-layers scripts/lib.sh $(wildcard scripts/bench scripts/demo scripts/check-history scripts/check-mutants) tests/clients/npm/install .ci/run

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC)) $(BUILD)/obj/lua_scripts.o
UNIT_BIN := $(patsubst tests/%.c,$(BUILD)/%,$(UNIT_SRC))
REPLAY_BIN := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/replay_%,$(FUZZ_SRC))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_SRC))
SIM_BIN := $(patsubst tests/sim/%.c,$(BUILD)/%,$(SIM_SRC))

.DELETE_ON_ERROR:
.SECONDARY: $(call obj,$(C_FILES))
.PHONY: all tests sim churn storebench filebench help check check-unit check-integration check-clients check-asan check-tsan check-valgrind \
	check-kills check-history check-mutants fuzz fuzz-programs \
	lint format docs docs-check bench demo install uninstall clean compile_commands FORCE

all: $(BUILD)/harcad ## the daemon, BUILD/harcad

tests: all $(UNIT_BIN) $(REPLAY_BIN) $(SIM_BIN) ## all the test programs, without running them

help: ## this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

# ---- compiling ----

# Objects are made anew when the flags change …
$(BUILD)/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst -Werror,,$(COMPILE))' | cmp -s - $@ || echo '$(subst -Werror,,$(COMPILE))' > $@

# … and when warnings become errors, unless all there are came from such a build: .strict says so.
$(BUILD)/.strict: $(BUILD)/.flags
	@touch $@

STAMPS := $(BUILD)/.flags $(if $(WERROR),$(BUILD)/.strict)
NOT_STRICT = $(if $(WERROR),,@rm -f $(BUILD)/.strict)

$(BUILD)/obj/%.o: %.c $(STAMPS) | $(GEN)/proto/lua_scripts.h
	@mkdir -p $(@D)
	$(NOT_STRICT)
	$(call tell,CC)
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/obj/lua_scripts.o: $(GEN)/proto/lua_scripts.c $(GEN)/proto/lua_scripts.h $(STAMPS)
	@mkdir -p $(@D)
	$(NOT_STRICT)
	$(call tell,CC)
	$(Q)$(COMPILE) -c -o $@ $<

# The list of members is a prerequisite of its own, so that a source taken away leaves the archive too.
$(BUILD)/.members: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ)' > $@

$(BUILD)/libharcad.a: $(LIB_OBJ) $(BUILD)/.members
	@rm -f $@
	$(call tell,AR)
	$(Q)ar rcs $@ $(LIB_OBJ)

$(BUILD)/harcad: $(BUILD)/obj/daemon/main.o $(BUILD)/libharcad.a
	$(call tell,LINK)
	$(Q)$(LINK) $^ $(HC_LIBS)

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(call obj,$(SUPPORT_SRC)) $(BUILD)/libharcad.a
	@mkdir -p $(@D)
	$(call tell,LINK)
	$(Q)$(LINK) $^ $(CHECK_LIBS) $(HC_LIBS)

$(SIM_BIN): $(BUILD)/%: $(BUILD)/obj/tests/sim/%.o $(BUILD)/libharcad.a
	$(call tell,LINK)
	$(Q)$(LINK) $^ $(HC_LIBS)

$(BUILD)/replay_%: $(BUILD)/obj/tests/fuzz/replay.o $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/libharcad.a
	$(call tell,LINK)
	$(Q)$(LINK) $^ $(HC_LIBS)

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/libharcad.a
	$(call tell,LINK)
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(HC_LIBS)

# Each script, and before it what they share, as a C string, byte for byte: hc_lua_NAME[] with a NUL behind, and hc_lua_NAME_len without it.
# Those that are sent whole each time stand alone, without lines that are comments, and without indentation.
lua_name = hc_lua_$(subst -,_,$(basename $(notdir $(1))))
lua_text = $(if $(filter $(LUA_WHOLE),$(1)),sed '/^--/d; s/^	*//' $(1),cat $(LUA_BEFORE) $(1))

$(GEN)/.lua: FORCE
	@mkdir -p $(@D)
	@echo '$(LUA)' | cmp -s - $@ || echo '$(LUA)' > $@

$(GEN)/proto/lua_scripts.h: $(GEN)/.lua Makefile
	@mkdir -p $(@D)
	@{ echo '/* Made from proto/lua/ by the Makefile. */'; \
	   echo '#ifndef HC_PROTO_LUA_SCRIPTS_H'; echo '#define HC_PROTO_LUA_SCRIPTS_H'; \
	   echo '#include <stddef.h>'; \
	   $(foreach f,$(LUA),echo 'extern const char $(call lua_name,$(f))[];'; \
		echo 'extern const size_t $(call lua_name,$(f))_len;';) \
	   echo '#endif'; } > $@

$(GEN)/proto/lua_scripts.c: $(LUA) $(LUA_BEFORE) $(GEN)/.lua Makefile
	@mkdir -p $(@D)
	@{ echo '/* Made from proto/lua/ by the Makefile. */'; echo '#include "proto/lua_scripts.h"'; \
	   $(foreach f,$(LUA),echo 'const char $(call lua_name,$(f))[] ='; echo '    ""'; \
		$(call lua_text,$(f)) | od -An -v -to1 | sed 's/ /\\/g; s/.*/    "&"/'; echo '    ;'; \
		echo 'const size_t $(call lua_name,$(f))_len = sizeof($(call lua_name,$(f))) - 1;';) \
	   } > $@

# ---- checking: scripts/test runs the parts and sums up; it installs nothing when called from here ----

TEST := env -u MAKEFLAGS -u MAKELEVEL scripts/test --no-install

check: ## warnings as errors, layers, unit tests, fuzz corpora, integration tests, sessions of clients
	$(TEST) fast

check-unit: ## unit tests only
	$(TEST) unit

check-integration: ## integration tests only
	$(TEST) integration

check-clients: ## sessions of real clients
	$(TEST) clients

check-asan: ## unit and integration tests under AddressSanitizer and UBSan
	$(TEST) asan

check-tsan: ## unit tests with threads, and the integration tests marked tsan, under ThreadSanitizer
	$(TEST) tsan

check-kills: all ## kill -9 at random moments, $(KILLS) times in each way of writing files, and every byte of a segment damaged
	HARCAD_KILLS=$(KILLS) HARCAD_EVERY_BYTE=yes PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -p no:cacheprovider -q -n 4 \
		tests/integration/test_file_kills.py tests/integration/test_file_faults.py

check-valgrind: ## unit tests under valgrind
	$(TEST) valgrind

check-history: all ## HISTORY_RUNS fleets under random faults, and 300 kills of a lone daemon, histories checked (for the night)
	HARCAD_BIN=$(CURDIR)/$(BUILD)/harcad scripts/check-history --runs $(HISTORY_RUNS)
	HARCAD_BIN=$(CURDIR)/$(BUILD)/harcad scripts/check-history --runs 12 --kills 30

check-mutants: ## plants the bugs of tests/fault/mutants/ one by one; the checker must find each
	env -u MAKEFLAGS -u MAKELEVEL scripts/check-mutants

fuzz: ## each fuzz target for FUZZ_SECONDS with clang, on a copy of its corpus
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-programs
	@for source in $(FUZZ_SRC); do \
		name=$$(basename $$source .c); target=$${name#fuzz_}; corpus=build/fuzz/corpus/$$target; \
		mkdir -p $$corpus build/fuzz/found; \
		cp -R tests/fuzz/corpus/$$target/. $$corpus/ 2>/dev/null || :; \
		echo "fuzz: $$target for $(FUZZ_SECONDS) s"; \
		build/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			-artifact_prefix=build/fuzz/found/$$target- $$corpus || exit 1; \
	done

fuzz-programs: $(FUZZ_BIN)

# cppcheck takes handing on the address of an uninitialised array for reading it: uninitvar is left to the compilers
# and to valgrind.
lint: compile_commands ## clang-format, clang-tidy, cppcheck, shellcheck, pyflakes
	clang-format --dry-run --Werror $(C_FILES) $(H_FILES)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem --suppress=uninitvar --suppress=ctuuninitvar -D_GNU_SOURCE -I. -Idaemon -I$(GEN) $(LIB_SRC) $(wildcard daemon/main.c)
	printf '%s\0' $(C_FILES) | xargs -0 -n 4 -P 2 clang-tidy --quiet -p .
	shellcheck -x $(SCRIPTS)
	if command -v pyflakes3 >/dev/null; then pyflakes3 $(sort $(wildcard tests/*/*.py tests/*/*/*.py scripts/*.py scripts/*/*.py)); fi

format: ## clang-format -i on all C files
	clang-format -i $(C_FILES) $(H_FILES)

# One entry a source, as clang-tidy and editors want it.
compile_commands: $(GEN)/proto/lua_scripts.h ## compile_commands.json
	@{ sep='['; for f in $(C_FILES); do \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' \
			"$$sep" '$(CURDIR)' $$f 'cc $(HC_CPPFLAGS) -std=c17 $(WARNINGS)' $$f; sep=','; \
	  done; printf '\n]\n'; } > compile_commands.json

# ---- docs, bench, demo ----

DOCS := settings commands

docs: all ## docs/settings.md and docs/commands.md from the daemon's own tables
	@mkdir -p docs
	@for page in $(DOCS); do \
		$(BUILD)/harcad --describe=$$page > $(BUILD)/$$page.md && mv $(BUILD)/$$page.md docs/$$page.md || exit 1; \
	done

docs-check: all ## fails when those pages are stale
	@for page in $(DOCS); do \
		$(BUILD)/harcad --describe=$$page | diff -u docs/$$page.md - || \
			{ echo "docs/$$page.md is stale: make docs" >&2; exit 1; }; \
	done

sim: $(BUILD)/sim ## hit ratios on a trace: make sim TRACE=FILE.gz BYTES=64000000, or BYTES=10% of its footprint
	gzip -dcf $(TRACE) | $(BUILD)/sim '$(BYTES)'

churn: $(BUILD)/churn ## memory taken beside memory kept, while sizes change: make churn BYTES=67108864 OPS=1000000 SEED=1
	$(BUILD)/churn $(or $(BYTES),268435456) $(or $(OPS),3000000) $(or $(SEED),1)

storebench: $(BUILD)/storebench ## what the memory tier costs by itself, with one thread and two
	$(BUILD)/storebench $(ARGS)

filebench: $(BUILD)/filebench ## what the file tier's log costs: make filebench [DIR=…] [N=1000000], N times 4 KiB of disk
	$(BUILD)/filebench '$(or $(DIR),$(BUILD)/filebench.dir)' '$(or $(N),1000000)'

.PHONY: sim-programs
sim-programs: $(SIM_BIN)

bench: all sim-programs ## costs and sizes beside redis-server and memcached, with targets; ARGS=--write puts it into docs/benchmarks.md, ARGS=--help tells more
	scripts/bench $(ARGS)

demo: all ## a small fleet on this machine; DIR=… holds vectors to load
	scripts/demo $(DIR)

# ---- installing ----

INSTALLED_DOCS = $(wildcard README.md LICENSE docs/*.md)
UNITS = $(notdir $(wildcard systemd/*.service systemd/*.socket))
SUBSTITUTE = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g'

install: all ## into DESTDIR; files under SYSCONFDIR that exist are left as they are
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/doc/harcad lib/systemd/system lib/sysusers.d)
	install -m 755 $(BUILD)/harcad $(DESTDIR)$(PREFIX)/bin/harcad
	install -m 644 $(INSTALLED_DOCS) $(DESTDIR)$(PREFIX)/share/doc/harcad/
	for page in $(notdir $(wildcard docs/man/*.[1-8])); do \
		install -D -m 644 docs/man/$$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$$page || exit 1; \
	done
	for unit in $(UNITS); do \
		$(SUBSTITUTE) systemd/$$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
		chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; \
	done
	install -m 644 systemd/harcad.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/harcad.conf
	install -d $(DESTDIR)$(SYSCONFDIR)/harcad $(DESTDIR)$(SYSCONFDIR)/default
	test -e $(DESTDIR)$(SYSCONFDIR)/default/harcad || \
		install -m 600 systemd/harcad.default $(DESTDIR)$(SYSCONFDIR)/default/harcad
	test ! -e conf/harcad.ini -o -e $(DESTDIR)$(SYSCONFDIR)/harcad/harcad.ini || \
		install -m 644 conf/harcad.ini $(DESTDIR)$(SYSCONFDIR)/harcad/harcad.ini

uninstall: ## what install put there, except the files under SYSCONFDIR
	rm -f $(DESTDIR)$(PREFIX)/bin/harcad $(DESTDIR)$(PREFIX)/lib/sysusers.d/harcad.conf
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/system/,$(UNITS))
	rm -f $(foreach page,$(notdir $(wildcard docs/man/*.[1-8])),\
		$(DESTDIR)$(PREFIX)/share/man/man$(lastword $(subst ., ,$(page)))/$(page))
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/harcad

clean: ## everything that was built
	rm -rf build compile_commands.json

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
