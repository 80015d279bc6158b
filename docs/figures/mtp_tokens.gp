# Made by: build/bin/bench plot mtp docs/data/mtp.jsonl --out=docs/figures
# from what was measured by: bench/studies.sh mtp >docs/data/mtp.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'mtp_tokens.svg'
set label 1000 'bench plot mtp; docs/data/mtp.jsonl; avx512' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$tokens << EOD
100 2.2184 2.1977 2.2579
200 2.3377 2.308 2.3745
300 2.4247 2.3583 2.4723
400 2.4701 2.4432 2.508
500 2.5125 2.4944 2.527
600 2.5313 2.5247 2.5407
700 2.5654 2.5445 2.584
800 2.5826 2.5651 2.5968
900 2.5805 2.5687 2.5995
1000 2.5913 2.5799 2.5971
EOD
set title 'Tokens that one call of the main model yields when the modules draft'
set xrange [0:1000]
set yrange [1:3]
set xlabel 'step'
set ylabel 'tokens a call, teacher-forced'
set key bottom right
plot $tokens using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#d95f02' title 'all modules: 2.59'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'mtp_tokens.png'
replot
