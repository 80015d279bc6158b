# Made by: build/bin/bench plot budget docs/data/budget.jsonl --out=docs/figures
# from what was measured by: bench/budget.py >docs/data/budget.jsonl
set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'
set output 'budget_f32.svg'
set label 1000 'bench plot budget; docs/data/budget.jsonl; boxes: middle half of the outputs; line: the largest' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'
set bmargin 5
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
unset key
$port0 << EOD
-0.300 0.0001 0.0001 0.06999 1
0.700 0.0001 0.05276 0.08132 1
1.700 0.0001 0.00592 0.09091 0.3965
2.700 0.0001 0.04566 0.2289 0.5461
3.700 0.0001 0.0001 0.0001 0.3082
4.700 0.1422 0.2385 0.3634 1
5.700 0.07811 0.1582 0.3199 1
6.700 0.0001 0.05093 0.1064 0.1964
7.700 0.0001 0.04288 0.1176 0.5455
8.700 0.0001 0.0001 0.0001 1
9.700 0.002015 0.01736 0.05844 1
10.700 0.01762 0.0408 0.08932 0.1611
11.700 0.0001 0.007925 0.02481 0.1003
12.700 0.0001 0.007925 0.0393 0.106
13.700 0.0001 0.0001 0.01021 0.0432
14.700 0.1788 0.2 0.2321 1
15.700 0.0001 0.177 0.4194 1
16.700 0.0001 0.0001 0.0001 0.0001
17.700 0.0001 0.0001 0.08481 1
18.700 0.0001 0.001121 0.0908 1
19.700 0.0001 0.0001 0.0001 0.0001
20.700 0.01716 0.03577 0.08959 0.4993
21.700 0.04861 0.1287 0.1745 1
22.700 0.0001 0.001875 0.05126 0.156
23.700 0.0303 0.09364 0.1244 1
24.700 0.0478 0.07706 0.1692 0.8055
EOD
$port1 << EOD
-0.100 0.0001 0.0001 0.164 1
0.900 0.0001 0.04266 0.1086 1
1.900 0.0001 0.02382 0.1176 0.2834
2.900 0.0001 0.03806 0.2147 1
3.900 0.0001 0.0001 0.0001 0.3082
4.900 0.1422 0.2385 0.3634 1
5.900 0.07811 0.1582 0.3199 1
6.900 0.0001 0.05699 0.1222 0.2702
7.900 0.0001 0.03928 0.1042 0.3157
8.900 0.0001 0.0001 0.0001 1
9.900 0.002015 0.01736 0.05844 1
10.900 0.01884 0.0408 0.05908 0.1611
11.900 0.0001 0.001574 0.02422 0.6348
12.900 0.0001 0.0001091 0.01054 0.1179
13.900 0.0001 0.0001 0.008852 0.04438
14.900 0.1788 0.2 0.2321 1
15.900 0.0001 0.2054 0.3459 1
16.900 0.0001 0.0001 0.0001 0.0001
17.900 0.0001 0.0001 0.06498 0.3333
18.900 0.0001 0.001113 0.1551 0.5317
19.900 0.0001 0.0001 0.0001 0.0001
20.900 0.001777 0.02022 0.07556 0.5242
21.900 0.03284 0.09661 0.1943 1
22.900 0.0001 0.0004042 0.04331 0.2482
23.900 0.01756 0.08749 0.1356 1
24.900 0.01382 0.1072 0.1992 1
EOD
$port2 << EOD
0.100 0.0001 0.0001 0.164 1
1.100 0.0001 0.04266 0.1086 1
2.100 0.0001 0.02382 0.1176 0.2834
3.100 0.0001 0.03806 0.2147 1
4.100 0.0001 0.0001 0.0001 0.3082
5.100 0.1422 0.2385 0.3634 1
6.100 0.07811 0.1582 0.3199 1
7.100 0.0001 0.05699 0.1222 0.2702
8.100 0.0001 0.03928 0.1042 0.3157
9.100 0.0001 0.0001 0.0001 1
10.100 0.002015 0.01736 0.05844 1
11.100 0.01884 0.0408 0.05908 0.1611
12.100 0.0001 0.008674 0.02446 0.1294
13.100 0.0001 0.003246 0.04306 0.1179
14.100 0.0001 0.0001 0.008852 0.04438
15.100 0.1788 0.2 0.2321 1
16.100 0.0001 0.2054 0.3459 1
17.100 0.0001 0.0001 0.0001 0.0001
18.100 0.0001 0.0001 0.06498 0.3333
19.100 0.0001 0.001113 0.1551 0.5317
20.100 0.0001 0.0001 0.0001 0.0001
21.100 0.001777 0.02022 0.07556 0.5242
22.100 0.03284 0.09661 0.1943 1
23.100 0.0001 0.0004042 0.04331 0.2482
24.100 0.02397 0.0899 0.1379 1
25.100 0.01382 0.1072 0.1992 1
EOD
$port3 << EOD
0.300 0.0001 0.0004354 0.1143 1
1.300 0.0001 0.03496 0.08423 1
2.300 0.0001 0.0001 0.09091 0.5614
3.300 0.0001 0.04566 0.2289 0.5
4.300 0.0001 0.0001 0.0001 0.3082
5.300 0.06236 0.4659 1 1
6.300 0.07218 0.1481 0.4332 1
7.300 0.02105 0.07821 0.1546 0.9085
8.300 0.01674 0.05625 0.09696 0.2168
12.300 0.0001 0.0001 0.03168 0.8504
13.300 0.0001 0.0001 0.05008 0.8852
14.300 0.0001 0.0001 0.007872 0.03487
15.300 0.1677 0.2 0.2 1
16.300 0.0001 0.177 0.3226 1
17.300 0.0001 0.0001 0.0001 0.0001
18.300 0.0001 0.0001 0.009831 0.3333
19.300 0.0001 0.0005275 0.06968 1
21.300 0.003224 0.01821 0.0545 0.3797
22.300 0.01581 0.08483 0.1515 1
23.300 0.0001 0.000596 0.0547 0.9998
24.300 0.01636 0.08537 0.1212 1
25.300 0.01025 0.02467 0.04559 0.1578
EOD
$mistakes << EOD
4.640 4.879e+07 R1_half_split
4.730 3.967e+06 R4_sign_flipped
4.820 9.84e+05 R7_mscale_on_cos
4.910 7.378e+06 R9_yarn_off
5.000 6.584e+06 R10_untruncated
5.090 5.507e+06 R10_clamp_half
6.640 1.287e+04 G1_bias_in_weights
6.730 1357 G5_not_normalised
6.820 2481 G7_scaled_twice
6.910 4.348e+04 G6_other_scoring
11.640 2236 A1_absorbed_scale
11.730 2159 R6_mscale_missing
11.820 2.372 A9_not_causal
11.910 1.711e+04 A10_square_mask
12.000 2793 A12_lse_base_2
12.090 552.1 A16_last_page_whole
12.180 2.579e+05 F15_scale_missing
12.270 1107 F15_one_scale
12.360 536.9 F15_tiles_reversed
11.640 16.88 F15_rope_rounded
20.640 141.8 A1_latent_scale
20.730 251.6 R6_no_mscale
20.820 498.9 A2_no_q_norm
20.910 167.6 A2_wide_norm
21.000 1.587e+04 A5_latent_not_normed
21.090 1963 A6_halves_swapped
21.180 2742 A6_halves_global
21.270 159.7 A9_no_mask
21.360 2596 A10_mask_from_start
20.640 1.452e+05 R2_k_half_split
20.730 1.452e+05 R14_k_not_rotated
20.820 2544 R15_positions_restart
12.640 1164 A1_nope_scale_prefill
12.730 1.322e+04 R6_mscale_missing_prefill
12.820 2.733 A9_not_causal_prefill
12.910 2193 A9_not_itself_prefill
13.000 2.925e+04 A10_square_mask_prefill
13.090 1.454e+04 A12_lse_base_2_prefill
14.640 1.412e+06 E8_gate_up_exchanged
14.730 1.157e+06 S1_glu
14.820 7825 S2_gelu
16.640 1e+08 W1_next_row
16.730 1e+08 W2_scaled
17.640 6152 M11_labels_rolled
17.730 1.063e+06 M11_ignored_counted
17.820 1.021e+06 M11_other_divisor
19.640 2.418e+07 F5_max_240
19.730 1e+08 F6_zero_tile
19.820 1e+08 F7_min_for_max
19.910 1e+08 F7_no_floor
20.000 5.426e+07 F7_floor_of_scale
20.090 1e+08 F10_rounded_log2
21.640 4.805e+04 E3_id_off_by_one
21.730 3.372e+04 E8_gate_up_swapped
21.820 2.486e+04 E9_last_token_dropped
21.910 2.498e+04 E11_weights_before
23.640 1.787e+04 G7_scale_again
23.730 1.052e+04 G8_scale_dropped
23.820 2.43e+04 G9_shared_scaled
23.910 3.471e+04 G9_shared_lost
24.000 3.472e+04 E4_shared_twice
8.640 2.759e+04 T1_sign_flipped
8.730 6.101e+06 T1_proportional
8.820 1e+08 T1_centred
8.910 1e+08 T1_zero_counts_up
9.640 321.9 T6_not_normalised
9.730 5.055e+04 T6_counts_raw
9.820 47.25 T6_batch_counts
24.640 599.2 M1_hidden_first
24.730 4.737 M1_norms_exchanged
24.820 65.24 M4_no_enorm
24.910 115.2 M4_no_hnorm
25.000 3099 M4_no_head_norm
25.090 265 M5_first_zeroed
25.180 129.6 M6_own_token
25.270 5.365e+05 M10_position_ahead
15.640 4.351e+04 D1_slope_of_sigmoid
15.730 2.175e+05 D1_grads_exchanged
5.640 2.581e+06 D2_not_inverted
5.730 2.4e+06 D2_heads_not_summed
18.640 1e+08 D3_ignored_counted
18.730 2.736e+05 D3_other_divisor
0.640 29.44 D4_mean_missing
0.730 1.113 D4_gain_missing
2.640 3.203e+06 D5_last_token
2.730 2.628e+06 D5_mean_of_tokens
3.640 2.033e+06 D6_overwritten
7.640 5.944e+04 D7_sum_constant
7.730 2.717e+05 D7_single_not_divided
7.820 1.243e+04 D7_scale_missing
7.910 1.382e+04 D7_bias_in_scores
10.640 161.1 D8_sum_constant
10.730 3.581e+04 D8_chosen_only
22.640 3916 D9_weight_missing
22.730 707.3 D9_weight_twice
22.820 908.2 D9_last_token_dropped
22.910 4400 D9_projections_exchanged
23.000 423.3 D9_overwritten
13.640 4445 D10_scale_missing_k
13.730 643.1 D10_no_D
13.820 783.1 D10_not_masked
13.910 643.5 D10_square_mask
14.000 464.9 D10_lse_base_2
EOD
set title 'Error as a fraction of its budget, outputs in binary32'
set logscale y
set yrange [6.25e-05:1e+10]
set xrange [-0.6:25.6]
set bmargin 9
set ylabel 'error / legal error, largest of an output'
set ytics ('exact' 0.0001, '0.001' 0.001, '0.01' 0.01, '0.1' 0.1, '1' 1, '10' 10, '10^2' 100, '10^4' 1e4, '10^6' 1e6, 'beyond' 1e+08)
set xtics rotate by 40 right font ',10' ('rmsnorm' 0, 'rmsnorm_backward' 1, 'linear' 2, 'linear_backward' 3, 'embed_backward' 4, 'rope' 5, 'rope_backward' 6, 'gate' 7, 'gate_backward' 8, 'bias_update' 9, 'balance_loss' 10, 'balance_loss_backward' 11, 'mla_decode' 12, 'mla_prefill' 13, 'mla_prefill_backward' 14, 'swiglu' 15, 'swiglu_backward' 16, 'embed' 17, 'cross_entropy' 18, 'cross_entropy_backward' 19, 'quant' 20, 'mla' 21, 'experts' 22, 'experts_backward' 23, 'moe' 24, 'mtp' 25) noenhanced
set boxwidth 0.175
set style fill solid 0.5
set key top center horizontal maxrows 1 samplen 1.5 font ',10'
set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 2 lc rgb '#b2182b'
plot $port0 using 1:2:2:5:4 with candlesticks lc rgb '#444444' title 'plain', \
     $port1 using 1:2:2:5:4 with candlesticks lc rgb '#d95f02' title 'avx512', \
     $port2 using 1:2:2:5:4 with candlesticks lc rgb '#1f78b4' title 'portable', \
     $port3 using 1:2:2:5:4 with candlesticks lc rgb '#7570b3' title 'transformers', \
     $mistakes using 1:2 with points pt 2 ps 0.7 lw 1.5 lc rgb '#b2182b' title '103 mistakes, where mildest'
set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'
set output 'budget_f32.png'
replot
