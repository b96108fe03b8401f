# SPDX-License-Identifier: GPL-2.0
#
# Memory over time: gnuplot -e "samples='FILE'; picture='FILE'; ram=MIB; vm=MIB" memory.gp
# Columns of the samples: seconds, resident MiB of VM 1 to 3, MiB of the host in use.

set terminal svg size 900,480 font "sans-serif,13" background "white"
set output picture
set title sprintf("Three VMs of %d MiB, each with its own NVMe, in a host of %d MiB", vm, ram)
set xlabel "seconds since the host's boot"
set ylabel "MiB"
set yrange [0:3 * vm * 1.1]
set key outside right top
set grid ytics
set style fill solid 0.6 noborder
set arrow from graph 0, first ram to graph 1, first ram nohead lw 2 dt 2 lc rgb "#444444"
set arrow from graph 0, first 3 * vm to graph 1, first 3 * vm nohead lw 2 dt 3 lc rgb "#aa0000"
set label "RAM of the host" at graph 0.01, first ram offset 0, 0.6
set label "RAM of the VMs together" at graph 0.01, first 3 * vm offset 0, 0.6
plot samples using 1:($2 + $3 + $4) with filledcurves x1 lc rgb "#4e79a7" title "VM 3 resident", \
     samples using 1:($2 + $3) with filledcurves x1 lc rgb "#f28e2b" title "VM 2 resident", \
     samples using 1:2 with filledcurves x1 lc rgb "#59a14f" title "VM 1 resident", \
     samples using 1:5 with lines lw 2 lc rgb "#000000" title "host in use"
