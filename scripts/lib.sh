# Shared by the scripts beside it: where the tree is, messages, and the packages that are needed from apt.
# Sourced, never run. Needs bash, and apt when something is missing.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ---- packages ----

# The compiler and the libraries the daemon is made of.
PACKAGES_BUILD=(gcc libc6-dev make pkg-config libevent-dev libhiredis-dev libinih-dev libxxhash-dev)
# What the tests need besides.
PACKAGES_TEST=(check valgrind libc6-dbg python3 python3-pytest python3-pytest-xdist python3-redis redis-server redis-tools systemd
	util-linux procps memcached faketime)
# What scripts/bench compares with, and measures by.
PACKAGES_BENCH=(python3 redis-server redis-tools memcached valgrind util-linux)
# The clients that sessions are held with; those from npm want PACKAGES_NODE, unless a node and an npm are here already.
PACKAGES_CLIENTS=(php-cli php-redis libredis-perl ruby-redis lua5.1 lua-redis prometheus-redis-exporter)
PACKAGES_NODE=(nodejs npm)
PACKAGES_VALGRIND=(valgrind)
PACKAGES_FUZZ=(clang)
# For `make lint`, by hand.
PACKAGES_LINT=(clang-format clang-tidy cppcheck shellcheck pyflakes3)

# ---- messages ----

say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	say "$@"
	exit 1
}

# ---- installing ----

# Prints those of the packages that are not installed, each on a line.
missing_packages() {
	local installed package

	installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || :)
	for package in "$@"; do
		grep -qxF "$package installed" <<<"$installed" || printf '%s\n' "$package"
	done
}

# Runs a command as root: as it is, or by sudo, which may ask for a password only where somebody can type it.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ] && [ -t 2 ]; then
		sudo -- "$@"
	else
		sudo -n -- "$@"
	fi
}

# While apt runs, no service it installs is started: ours start their own redis-server and memcached, and a machine that
# had none on their ports shall have none afterwards. A policy that is there already is somebody's and stays.
POLICY=/usr/sbin/policy-rc.d
policy_is_ours=

policy_deny_services() {
	[ ! -e "$POLICY" ] || return 0
	policy_is_ours=yes
	trap policy_restore EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# shellcheck disable=SC2016  # expanded by the inner shell
	as_root sh -c 'printf "#!/bin/sh\nexit 101\n" > "$1" && chmod 755 "$1"' sh "$POLICY"
}

policy_restore() {
	[ -n "$policy_is_ours" ] || return 0
	policy_is_ours=
	trap - EXIT INT TERM
	as_root rm -f "$POLICY"
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		"$@" </dev/null >&2
}

# Installs what is missing of the packages named. Without anything missing it needs neither root nor network.
install_packages() {
	local missing

	if ! command -v dpkg-query >/dev/null; then
		say "no dpkg here: going on, in the hope that these are installed: $*"
		return 0
	fi
	# shellcheck disable=SC2207  # names of packages hold nothing that splits
	missing=($(missing_packages "$@"))
	[ "${#missing[@]}" -gt 0 ] || return 0

	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "these packages are missing, and only root can install them:" \
			"apt-get install --no-install-recommends ${missing[*]}"
	fi
	say "installing ${missing[*]}"
	policy_deny_services || die "cannot become root to install them: sudo refused"
	apt_get update || say "apt-get update failed: trying with the lists that are here"
	apt_get install --no-install-recommends "${missing[@]}" ||
		die "apt could not install ${missing[*]}: its messages are above"
	policy_restore

	# Services that came with us are for tests and comparisons alone: they are not to start at the next boot either.
	local service
	for service in redis-server memcached prometheus-redis-exporter; do
		if [[ " ${missing[*]} " == *" $service "* ]] && command -v systemctl >/dev/null; then
			as_root systemctl disable "$service" >/dev/null 2>&1 || :
		fi
	done
}

# ---- building ----

jobs_count() {
	nproc 2>/dev/null || echo 2
}
