# Made by: build/bin/bench plot budget docs/data/budget.jsonl --out=docs/figures
# from what was measured by: bench/budget.py >docs/data/budget.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'budget_bf16.svg'
set label 1000 'bench plot budget; docs/data/budget.jsonl; boxes: middle half of the outputs; line: the largest' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$port0 << EOD
-0.300 0.0001 0.0001 0.0001 1
0.700 0.0001 0.0001 1 1
1.700 0.0001 0.0001 1 1
2.700 0.0001 0.0001 0.0001 1
3.700 0.0001 0.0001 1 1
4.700 0.0001 0.0001 0.0001 1
5.700 0.0001 0.0001 0.0001 1
6.700 1 1 1 1
7.700 0.0001 0.0001 1 1
8.700 0.0001 0.0001 1 1
9.700 0.0001 0.0001 1 1
10.700 0.0001 0.0001 1 1
11.700 0.0001 0.0001 0.0001 1
12.700 0.0001 0.0001 0.0001 0.0001
13.700 0.0001 0.0001 1 1
14.700 0.0001 1 1 1
15.700 0.0001 0.0001 1 1
16.700 0.0001 0.0001 1 1
17.700 0.0001 1 1 1
18.700 0.0001 0.0001 1 1
EOD
$port1 << EOD
-0.100 0.0001 0.0001 0.0001 1
0.900 0.0001 0.0001 1 1
1.900 0.0001 0.0001 1 1
2.900 0.0001 0.0001 0.0001 1
3.900 0.0001 0.0001 1 1
4.900 0.0001 0.0001 0.0001 1
5.900 0.0001 0.0001 0.0001 1
6.900 1 1 1 1
7.900 0.0001 0.1548 1 1
8.900 0.0001 0.0001 1 1
9.900 0.0001 0.0001 1 1
10.900 0.0001 0.0001 1 1
11.900 0.0001 0.0001 0.000436 1
12.900 0.0001 0.0001 0.0001 0.0001
13.900 0.0001 0.0001 1 1
14.900 0.0001 1 1 1
15.900 0.0001 1 1 1
16.900 0.0001 0.0001 1 1
17.900 0.0001 1 1 1
18.900 0.0001 0.0001 0.0001 1
EOD
$port2 << EOD
0.100 0.0001 0.0001 0.0001 1
1.100 0.0001 0.0001 1 1
2.100 0.0001 0.0001 1 1
3.100 0.0001 0.0001 0.0001 1
4.100 0.0001 0.0001 1 1
5.100 0.0001 0.0001 0.0001 1
6.100 0.0001 0.0001 0.0001 1
7.100 1 1 1 1
8.100 0.0001 0.0001 1 1
9.100 0.0001 0.0001 1 1
10.100 0.0001 0.0001 1 1
11.100 0.0001 0.0001 1 1
12.100 0.0001 0.0001 0.000436 1
13.100 0.0001 0.0001 0.0001 0.0001
14.100 0.0001 0.0001 1 1
15.100 0.0001 1 1 1
16.100 0.0001 1 1 1
17.100 0.0001 0.0001 1 1
18.100 0.0001 1 1 1
19.100 0.0001 0.0001 0.0001 1
EOD
$port3 << EOD
0.300 0.0001 0.0001 1 1
1.300 0.0001 0.0001 0.4267 1
2.300 0.0001 0.0001 0.2904 1
3.300 0.0001 0.0001 0.0001 1
4.300 0.0001 0.1537 0.3846 0.73
5.300 1 1 1 1
6.300 1 1 1 1
7.300 1 1 1 1
8.300 0.0001 0.0001 1 1
9.300 0.0001 0.0001 1 1
10.300 0.0001 0.0001 0.2826 1
11.300 0.0001 0.0001 0.0001 1
12.300 0.0001 0.0001 1 1
13.300 0.0001 0.0001 0.0001 0.0001
14.300 0.0001 0.0001 1 1
15.300 0.4258 1 1 1
16.300 0.2732 0.3216 0.488 1
17.300 0.0001 0.1489 1 1
18.300 0.194 0.3441 1 1
19.300 1 1 1 1
EOD
$mistakes << EOD
4.640 1e+08 R1_half_split
4.730 1047 R4_sign_flipped
4.820 1e+08 R7_mscale_on_cos
4.910 1e+08 R9_yarn_off
5.000 1e+08 R10_untruncated
5.090 1e+08 R10_clamp_half
7.640 1e+08 A1_absorbed_scale
7.730 1e+08 R6_mscale_missing
7.820 1e+08 A9_not_causal
7.910 1e+08 A10_square_mask
8.000 1e+08 A16_last_page_whole
8.090 3.691e+04 F15_scale_missing
8.180 1e+08 F15_one_scale
8.270 1e+08 F15_tiles_reversed
8.360 1e+08 F15_rope_rounded
14.640 1e+08 A1_latent_scale
14.730 1e+08 R6_no_mscale
14.820 1e+08 A2_no_q_norm
14.910 1e+08 A2_wide_norm
15.000 1e+08 A5_latent_not_normed
15.090 4153 A6_halves_swapped
15.180 8.57e+04 A6_halves_global
15.270 1e+08 A9_no_mask
15.360 1e+08 A10_mask_from_start
14.640 1e+08 R2_k_half_split
14.730 1e+08 R14_k_not_rotated
14.820 1204 R15_positions_restart
8.640 1e+08 A1_nope_scale_prefill
8.730 1e+08 R6_mscale_missing_prefill
8.820 1e+08 A9_not_causal_prefill
8.910 1e+08 A9_not_itself_prefill
9.000 1e+08 A10_square_mask_prefill
10.640 180.1 E8_gate_up_exchanged
10.730 270.2 S1_glu
10.820 1e+08 S2_gelu
12.640 1e+08 W1_next_row
12.730 1e+08 W2_scaled
15.640 1e+08 E3_id_off_by_one
15.730 1e+08 E8_gate_up_swapped
15.820 1e+08 E9_last_token_dropped
15.910 1e+08 E11_weights_before
17.640 1e+08 G7_scale_again
17.730 1e+08 G8_scale_dropped
17.820 1e+08 G9_shared_scaled
17.910 126 G9_shared_lost
18.000 1e+08 E4_shared_twice
18.640 657.8 M1_hidden_first
18.730 1e+08 M1_norms_exchanged
18.820 1e+08 M4_no_enorm
18.910 1927 M4_no_hnorm
19.000 4993 M4_no_head_norm
19.090 194.8 M5_first_zeroed
19.180 181 M6_own_token
19.270 1e+08 M10_position_ahead
11.640 1e+08 D1_slope_of_sigmoid
11.730 4002 D1_grads_exchanged
5.640 1047 D2_not_inverted
5.730 1e+08 D2_heads_not_summed
13.640 1e+08 D3_ignored_counted
13.730 1e+08 D3_other_divisor
0.640 795.2 D4_mean_missing
0.730 3.039 D4_gain_missing
2.640 1e+08 D5_last_token
2.730 1e+08 D5_mean_of_tokens
3.640 1e+08 D6_overwritten
6.640 1e+08 D7_sum_constant
6.730 1e+08 D7_scale_missing
6.820 1e+08 D7_bias_in_scores
16.640 1632 D9_weight_missing
16.730 1e+08 D9_last_token_dropped
16.820 1023 D9_projections_exchanged
16.910 1e+08 D9_overwritten
9.640 485.5 D10_scale_missing_k
9.730 3.388e+04 D10_no_D
9.820 420.7 D10_not_masked
9.910 263.7 D10_square_mask
10.000 308.9 D10_lse_base_2
EOD
set title 'Error as a fraction of its budget, outputs in BF16'
set logscale y
set yrange [6.25e-05:1e+10]
set xrange [-0.6:19.6]
set bmargin 9
set ylabel 'error / legal error, largest of an output'
set ytics ('exact' 0.0001, '0.001' 0.001, '0.01' 0.01, '0.1' 0.1, '1' 1, '10' 10, '10^2' 100, '10^4' 1e4, '10^6' 1e6, 'beyond' 1e+08)
set xtics rotate by 40 right font ',10' ('rmsnorm' 0, 'rmsnorm_backward' 1, 'linear' 2, 'linear_backward' 3, 'embed_backward' 4, 'rope' 5, 'rope_backward' 6, 'gate_backward' 7, 'mla_decode' 8, 'mla_prefill' 9, 'mla_prefill_backward' 10, 'swiglu' 11, 'swiglu_backward' 12, 'embed' 13, 'cross_entropy_backward' 14, 'mla' 15, 'experts' 16, 'experts_backward' 17, 'moe' 18, 'mtp' 19) noenhanced
set boxwidth 0.175
set style fill solid 0.5
set key top center horizontal maxrows 1 samplen 1.5 font ',10'
set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 2 lc rgb '#b2182b'
plot $port0 using 1:2:2:5:4 with candlesticks lc rgb '#444444' title 'plain', \
     $port1 using 1:2:2:5:4 with candlesticks lc rgb '#d95f02' title 'avx512', \
     $port2 using 1:2:2:5:4 with candlesticks lc rgb '#1f78b4' title 'portable', \
     $port3 using 1:2:2:5:4 with candlesticks lc rgb '#7570b3' title 'transformers', \
     $mistakes using 1:2 with points pt 2 ps 0.7 lw 1.5 lc rgb '#b2182b' title '77 mistakes, where mildest'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'budget_bf16.png'
replot
