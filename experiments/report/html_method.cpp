#include "experiments/report/html_method.h"

namespace longattn {

const std::string_view kMethod = R"html(
<p>Every variant has two parts. Its <em>definition</em> gives rows of weights <var>W</var> in double
precision, written as plainly as the paper's formula; its <em>algorithm</em> is the fast forward pass.
The algorithm is held against its own definition (is it implemented right?), and the definition against
full attention (what does the approximation lose?). The two never mix in one number.</p>
<dl>
<dt>Time</dt>
<dd>One forward pass, inputs in memory, workspace allocated. Each round runs in its own process; rounds
of all cells are interleaved in random order. The figure is the median over rounds. <code>few_rounds</code>
marks a cell that has fewer of them than asked for, because <code>measure.max_time</code> or the end of the
run cut them; <code>disturbed_rounds</code> (in the CSV file) counts those whose threads had to wait for a
processor.</dd>
<dt>nondeterministic</dt>
<dd>The passes of this cell did not give the same output bit by bit: what was timed is not exactly what was
judged.</dd>
<dt>What ± means</dt>
<dd>The wider half of the 95 % interval, as a share of the figure. For time the interval is distribution-free: of
<var>n</var> rounds, sorted, <var>x</var><sub>(<var>k</var>)</sub> to <var>x</var><sub>(<var>n</var>+1−<var>k</var>)</sub>
with the largest <var>k</var> for which 1 − 2 Σ<sub><var>j</var>&lt;<var>k</var></sub>
C(<var>n</var>, <var>j</var>) / 2<sup><var>n</var></sup> ≥ 0.95 (9 rounds: second to eighth, 96.1 %; with fewer than six
rounds smallest to largest, which is less than 95 %). For errors it is a bootstrap-<var>t</var>
on the logarithm over the sampled rows; where every row was judged nothing is estimated. On simulated samples of 256
rows it holds the truth in 94 % for exponential squared errors, and in 87 % for squares of log-normal errors
(<var>σ</var> = 1), whose mean hangs on a few rows; on all rows of the shipped trace, in 95 % and more. Two figures are
called different only when their intervals do not overlap.</dd>
<dt>vs full</dt>
<dd>Time of <code>full</code> over time of the variant, same input and length: above 1 is faster. Its interval is a
cautious one: lowest over highest to highest over lowest.</dd>
<dt>Workspace, heap peak</dt>
<dd>Memory beside inputs and outputs. Workspace is what the variant asked the toolkit for, counted to the
byte; heap peak is every allocation of the process during the forward pass.</dd>
<dt>Growth</dt>
<dd>The <var>p</var> of cost ~ <var>n<sup>p</sup></var>: every round gives a least-squares slope of log cost over
log length; the figure is their median with its interval. It needs at least 5 lengths over at least a factor 8.
Marked as no power law where the fit is more than 5 % off at some length, beyond the spread of the rounds. Only the
last two doublings are held against the growth that the variant declares: faster is what lies above it by more than
0.15 with its whole interval. The CSV file has the exponent of every step.</dd>
<dt>Relative error</dt>
<dd>√( Σ<sub><var>i</var></sub> |<var>o<sub>i</sub></var> − <var>f<sub>i</sub></var>|² / Σ<sub><var>i</var></sub>
|<var>f<sub>i</sub></var>|² ) over the sampled query rows <var>i</var> of all heads and batch entries, with
<var>o</var> = <var>W</var> <var>V</var> of the variant's definition and <var>f</var> of full attention, both in
double precision. 0 is exact; an output of zeros has 1.</dd>
<dt>Floor</dt>
<dd>The same for full attention evaluated plainly in float32; with bfloat16 storage, with
probabilities rounded to it. Nothing below it can be told from rounding.</dd>
<dt>Sampled rows</dt>
<dd>One query drawn at random from each of equally long stretches of every head. The first and last queries are
judged as well (pinned rows) and told apart: they are no random sample.</dd>
<dt>Worst row, row errors</dt>
<dd>|<var>o<sub>i</sub></var> − <var>f<sub>i</sub></var>| / |<var>f<sub>i</sub></var>| of the worst sampled row. With
<var>n</var> sampled rows a share of 0.05<sup>1/<var>n</var></sup> of all rows (98.8 % for 256) is no worse, with 95 %
confidence.</dd>
<dt>Mass, lost mass, contrast</dt>
<dd>Mass: mean over sampled rows of the probability that full attention gives to the keys which the variant
weighs. Only for variants whose weights are a softmax or a mean over keys. What is missing is the lost mass; for a
softmax on fewer keys <var>o</var> − <var>f</var> = lost mass × (mean kept value − mean lost value), and contrast is the
relative error over the root mean square of the lost mass: how much the lost values differ.</dd>
<dt>Oracle, regret</dt>
<dd>The relative error of a softmax over as many keys per row as the variant weighs, but those with the largest weights
in full attention. Regret is what choosing other keys costs: relative error − oracle. For
<code>linformer</code> the oracle is <code>low_rank_oracle</code>, the nearest weights of the same rank
(<var>k</var> = <code>projected_len</code>), where the run has that cell.</dd>
<dt>Heads</dt>
<dd>What each query head does in full attention, over its sampled rows: entropy, weight on the first four tokens (a
<em>sink</em> where it is large) and within so many tokens on each side, the window that holds 99 % of the weight of
the mean row (the next one of eight per doubling), and the effective rank of its scores. The error of a head is the
relative error over its own rows; with fewer than 32 of them none is told. A head is served by the setting with the
shortest forward pass, over all heads, among those whose whole interval in this head is within
<code>measure.error_budget</code>.</dd>
<dt>TV, KL, recall, entropy</dt>
<dd>Means over rows of ½ Σ |<var>W</var> − <var>P</var>| and Σ <var>W</var> log(<var>W</var>/<var>P</var>) with <var>P</var>
of full attention; the share of a row’s 16 heaviest keys that get a weight; − Σ <var>P</var> log <var>P</var> in nats
(e<sup>entropy</sup> is the number of keys that a row attends to). Rows that weigh no key are counted as uncovered.</dd>
<dt>Seeds</dt>
<dd>For variants that draw at random: mean and worst relative error over seeds; bias, of the mean output over seeds
(its own spread taken out); spread, the standard deviation of outputs over seeds; both relative to |<var>f</var>|.</dd>
<dt>Equal error, crossover, Pareto</dt>
<dd>An error counts as at most so much when its whole interval is. Crossover: the first length from which on the
intervals of the costs are apart; between it and the last length where the other one is cheaper the point of equal
cost is read off a straight line in log-log scale. A setting is beaten when another one is nowhere worse in error, time
and workspace, and apart from it in one of them; tied when another one is nowhere worse by the measured values, but
not apart from it in any; else on the front. Null baselines take no part.</dd>
<dt>Inputs</dt>
<dd>What full attention does on the input, over sampled rows: the entropy of a row's weights (of uniform
rows beside it), the deviation of its scores, the distance within which half of its weight lies (median), the
weight on the first four tokens, and the effective rank of the scores (exponential of the entropy of their
normalised singular values, rows centred). A generator promises one of these figures, or the weight on the
keys that it planted: <em>asked</em> and <em>measured</em>.</dd>
<dt>Null baselines</dt>
<dd><code>mean_value</code> returns the mean of the visible values and <code>zero</code> returns nothing: neither
looks at a key. An approximation that loses more than they do has learnt nothing from the keys.</dd>
<dt>Implementation ratio</dt>
<dd>Largest |forward − <var>W</var> <var>V</var>| over its tolerance, which is derived from the problem, not tuned: for
row <var>i</var> and column <var>c</var> it is 2 (<var>u</var> (<var>S<sub>i</sub></var> + <var>D<sub>i</sub></var>) +
<var>r</var>) Σ<sub><var>j</var></sub> <var>M<sub>ij</sub></var> |<var>v<sub>jc</sub></var>| with <var>u</var> =
2<sup>−24</sup>; <var>M</var> the absolute terms of <var>W</var>; <var>S<sub>i</sub></var> the roundings of a score times
the bound on its own terms; <var>D<sub>i</sub></var> the roundings of the sums over keys; <var>r</var> = 2<sup>−9</sup>
where probabilities are rounded to bfloat16, else 0. Above 1 the status is <code>nonconforming</code>, and a
nonconforming cell prints no time: a wrong result has no speed.</dd>
<dt>Gate resolution</dt>
<dd>Worst sampled row's |tolerance| / |output|: the smallest relative mistake that the gate would surely
see.</dd>
<dt>Failures</dt>
<dd>A cell without a result stays a row with its reason. <code>oom</code> and <code>timeout</code> are limits of
this run, <code>skipped</code> was predicted not to fit and never started, <code>unsupported</code> is a problem that
the variant does not take.</dd>
</dl>
)html";

}  // namespace longattn
