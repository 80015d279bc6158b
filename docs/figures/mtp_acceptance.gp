# Made by: build/bin/bench plot mtp docs/data/mtp.jsonl --out=docs/figures
# from what was measured by: bench/studies.sh mtp >docs/data/mtp.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'mtp_acceptance.svg'
set label 1000 'bench plot mtp; docs/data/mtp.jsonl; avx512' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$first << EOD
100 0.7183 0.70263 0.73585
200 0.7534 0.73831 0.77116
300 0.78654 0.76058 0.80807
400 0.80713 0.79552 0.82148
500 0.82439 0.81779 0.83083
600 0.82919 0.82443 0.83465
700 0.84297 0.83575 0.84966
800 0.85015 0.84375 0.85408
900 0.85105 0.84535 0.85778
1000 0.85548 0.84867 0.85888
EOD
$second << EOD
100 0.69614 0.67438 0.70948
200 0.7755 0.77161 0.78232
300 0.81093 0.78587 0.82497
400 0.82129 0.814 0.8357
500 0.83467 0.82734 0.83874
600 0.84677 0.84494 0.8494
700 0.85691 0.84798 0.86432
800 0.86156 0.85494 0.86957
900 0.8571 0.85096 0.86467
1000 0.86018 0.85937 0.86167
EOD
$sampled_first << EOD
100 0.77603 0.76384 0.78568
200 0.79315 0.79027 0.79781
300 0.80741 0.80376 0.81181
400 0.82278 0.81396 0.82722
500 0.83311 0.8279 0.83664
600 0.84293 0.8379 0.84751
700 0.85068 0.84614 0.85503
800 0.85847 0.8539 0.86292
900 0.8628 0.8584 0.86793
1000 0.86601 0.86168 0.87079
EOD
$sampled_second << EOD
100 0.72603 0.72035 0.73566
200 0.77071 0.76678 0.77268
300 0.79551 0.78833 0.80046
400 0.80898 0.80094 0.81538
500 0.82102 0.8183 0.82263
600 0.8345 0.83089 0.83842
700 0.84379 0.83787 0.84767
800 0.85181 0.84863 0.85445
900 0.85524 0.85248 0.85728
1000 0.85815 0.8563 0.85965
EOD
$frequent << EOD
100 0.2913 0.27307 0.31165
200 0.24182 0.23279 0.24756
300 0.22896 0.22485 0.23279
400 0.23124 0.22974 0.23315
500 0.22298 0.21997 0.22681
600 0.21871 0.2157 0.2229
700 0.22388 0.22034 0.22583
800 0.2216 0.22034 0.22229
900 0.22262 0.2207 0.22388
1000 0.22225 0.21851 0.22742
EOD
$shifted << EOD
100 0.093419 0.076513 0.10714
200 0.066427 0.064732 0.06808
300 0.055762 0.052083 0.060764
400 0.053323 0.049231 0.055556
500 0.050554 0.046999 0.053075
600 0.052042 0.048487 0.054315
700 0.046668 0.043031 0.048487
800 0.04828 0.045759 0.050719
900 0.047206 0.046503 0.047991
1000 0.047991 0.046875 0.049355
EOD
set title 'Drafts that would be accepted, on held-out text, while a small DeepSeek-V3 trains'
set xrange [0:1000]
set yrange [0:1]
set xlabel 'step'
set ylabel 'share of drafts'
set rmargin 3
set key at graph 0.98,0.62 right top
plot $first using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 1 lc rgb '#d95f02' title 'depth 1, greedy: 0.855', \
     $second using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 1 lc rgb '#1f78b4' title 'depth 2 where 1 is right: 0.860', \
     $sampled_first using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 2 lc rgb '#d95f02' title 'depth 1, sampled at T = 1: 0.866', \
     $sampled_second using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 2 lc rgb '#1f78b4' title 'depth 2, sampled at T = 1: 0.858', \
     $frequent using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 3 lc rgb '#888888' title 'control: the most frequent byte: 0.222', \
     $shifted using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt 3 lc rgb '#444444' title 'control: the place behind: 0.048'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'mtp_acceptance.png'
replot
