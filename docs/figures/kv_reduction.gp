# Made by: build/bin/bench plot kv docs/data/kv.jsonl --out=docs/figures
# from what was measured by: build/bin/bench run @bench/kv.txt --format=jsonl >docs/data/kv.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'kv_reduction.svg'
set label 1000 'bench plot kv; docs/data/kv.jsonl; AMD EPYC, 2 threads' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
set title 'Where 93.3 % comes from: a kind of attention, then 6 bits a number'
set style fill solid 0.9
set boxwidth 0.6
set xrange [-0.6:5.6]
set yrange [0:450]
set ylabel 'KB a token (1 KB = 1000 bytes)'
$steps << EOD
0 389.12 0x444444 "DeepSeek 67B\nGQA-8, BF16"
1 69.120000000000005 0xd95f02 "DeepSeek-V2\nMLA, BF16"
2 25.920000000000002 0xe6ab02 "DeepSeek-V2\nMLA, 6 bits"
3 249.85599999999999 0x1f78b4 "V3's shape\nGQA-8, BF16"
4 70.272000000000006 0xd95f02 "DeepSeek-V3\nMLA, BF16"
5 40.015999999999998 0xe6ab02 "DeepSeek-V3\nMLA, FP8"
EOD
plot $steps using 1:2:3:xtic(4) with boxes lc rgb variable, \
     '' using 1:2:(sprintf('%.1f', $2)) with labels offset 0,0.8, \
     '' every ::1::2 using 1:($2+38):(sprintf('-%.1f %%', 100*(1-$2/389.12))) with labels, \
     '' every ::4::5 using 1:($2+38):(sprintf('-%.1f %%', 100*(1-$2/249.85599999999999))) with labels
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'kv_reduction.png'
replot
