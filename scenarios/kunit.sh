# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0
#
# about=the KUnit suites of the series pass in the kernel of the host
# ram=1G
# append=kunit.enable=1

# shellcheck source=scenarios/lib.sh
. /scenarios/lib.sh

# Each suite leaves its KTAP in debugfs, with its own result as the last line.
for suite in /sys/kernel/debug/kunit/*; do
	name=${suite##*/}
	cp "$suite/results" "/out/$name.ktap"
	grep '^ *not ok' "$suite/results" | sed 's/^ */# /'
	check "$name" grep -q "^ok [0-9]* $name\$" "$suite/results"
done
check_value "suites that ran" $tests -ge 3
finish
