# Made by: build/bin/bench plot accumulation docs/data/accumulation.jsonl --out=docs/figures
# from what was measured by: build/bin/bench accumulation --format=jsonl >docs/data/accumulation.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'accumulation_signed.svg'
set label 1000 'bench plot accumulation; docs/data/accumulation.jsonl; sums of the unit, emulated bit for bit' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'FP8 products by Hopper''s wgmma, signed numbers: errors of the sum of k of them'
set logscale x 2
set logscale y
set format y '10^{%T}'
set xrange [*:16384]
set yrange [1e-08:1]
set rmargin 22
set xlabel 'k, products in a sum'
set ylabel 'error over RMS of the exact sums: the largest, down to the median'
$unit << EOD
32 0.0003213 5.316e-06
64 0.0008564 2.653e-05
128 0.001204 4.234e-05
256 0.001759 7.112e-05
512 0.003086 0.0001151
1024 0.004596 0.0001882
2048 0.004896 0.0003056
4096 0.01065 0.0004598
8192 0.01437 0.0007497
16384 0.0312 0.001152
EOD
set label 'the unit alone' at 16384,0.0312 offset 1,0 textcolor rgb '#d95f02'
$promoted << EOD
32 0.0003213 5.316e-06
64 0.0008564 2.653e-05
128 0.001204 4.234e-05
256 0.001171 5.235e-05
512 0.0008122 6.017e-05
1024 0.0005493 6.556e-05
2048 0.0005359 7.009e-05
4096 0.0005092 7.117e-05
8192 0.0004343 7.307e-05
16384 0.0004593 7.248e-05
EOD
set label 'promoted every 128' at 16384,0.0004593 offset 1,0 textcolor rgb '#1f78b4'
$binary32 << EOD
32 8.306e-08 1e-08
64 1.184e-07 1e-08
128 1.654e-07 1e-08
256 2.339e-07 1e-08
512 3.288e-07 1e-08
1024 3.839e-07 1e-08
2048 4.349e-07 2.071e-08
4096 6.269e-07 2.916e-08
8192 6.91e-07 4.624e-08
16384 1.276e-06 6.491e-08
EOD
set label 'binary32' at 16384,1.276e-06 offset 1,0 textcolor rgb '#444444'
plot $unit using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#d95f02', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#d95f02', \
     $promoted using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#1f78b4', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#1f78b4', \
     $binary32 using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '#444444', \
     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '#444444'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'accumulation_signed.png'
replot
