"""The warehouse's scalar SQL functions in `main`: names, parameters, descriptions. Their SQL is in sql/functions/.

Functions that return a table are macros (`macros.py`).
"""

from __future__ import annotations

from nightboard.warehouse.schema.macros import Macro, Parameter

_VALUE = Parameter("value", "one number per row")
_MEAN = Parameter("value", "mean of values between 0 and 1")
_VARIANCE = Parameter("variance", "sampling variance of the mean: the square of its standard error")
_N = Parameter("n", "documents")
_T = Parameter("t", "transformed argument")
_Z = Parameter("z", "standard normal statistic")
_PAIRED = (
    Parameter("difference", "paired difference"),
    Parameter("reach", "largest possible difference"),
    Parameter("size", "number of equally weighted questions: reach squared / sum of the questions' squared reaches"),
    Parameter("spread", "sum of the squared influences of the questions on the difference"),
)

FUNCTIONS = {
    function.name: function
    for function in (
        Macro(
            "exact_sum",
            "sum that does not depend on the order of rows: adds integer multiples of 2^-80, up to a total of 1e14;"
            " values that are not finite are skipped",
            (_VALUE,),
        ),
        Macro("exact_mean", "mean that does not depend on the order of rows, see exact_sum", (_VALUE,)),
        Macro(
            "effective_size",
            "number of independent documents that would give a mean its sampling variance (Korn & Graubard 1998);"
            " n if all answers are the same",
            (_MEAN, _VARIANCE, _N),
        ),
        Macro(
            "reported_variance",
            "sampling variance of a mean by its reported standard error. Where the value is between 0 and 1, an error"
            " that no answers can have (not above 0, or above sqrt(value * (1 - value))) counts as not reported:"
            " value * (1 - value) / n takes its place",
            (_MEAN, Parameter("stderr", "standard error as it was reported"), _N),
        ),
        Macro(
            "wilson_bound",
            "bound of Wilson's score interval (1927) of a mean of values between 0 and 1",
            (
                Parameter("mean", "mean of values between 0 and 1"),
                Parameter("size", "number of documents, or their effective number"),
                Parameter("z", "quantile of the normal distribution, negative for the lower bound"),
            ),
        ),
        Macro("wilson_low", "lower bound of the 95% interval of a mean (Wilson)", (_MEAN, _VARIANCE, _N)),
        Macro("wilson_high", "upper bound of the 95% interval of a mean (Wilson)", (_MEAN, _VARIANCE, _N)),
        Macro(
            "normal_quantile",
            "quantile of the standard normal distribution, to 1e-8 (Acklam's rational approximation)",
            (Parameter("probability", "more than 0, less than 1"),),
        ),
        Macro("normal_quantile_tail", "part of normal_quantile: the upper tail", (_T,)),
        Macro(
            "normal_quantile_middle",
            "part of normal_quantile: between the tails",
            (Parameter("q", "probability - 0.5"),),
        ),
        Macro("erfc_exponent", "part of normal_p_value", (_T,)),
        Macro(
            "normal_p_value",
            "two-sided p-value of a standard normal statistic, to a relative 2e-7 (Numerical Recipes 6.2)",
            (_Z,),
        ),
        Macro(
            "paired_variance",
            "variance of difference * size / (size + 2): of a paired difference with two questions more, one won and"
            " one lost (Bonett & Price 2012)",
            _PAIRED,
        ),
        Macro(
            "paired_z",
            "standard normal statistic of a paired difference, by the paired_variance that it would have if there were"
            " none; for right and wrong answers of equal weight, (wins - losses) / sqrt(wins + losses + 2)",
            _PAIRED,
        ),
        Macro(
            "paired_margin",
            "half-width of the 95% interval around difference * size / (size + 2): the interval holds the differences"
            " that paired_z does not reject",
            _PAIRED,
        ),
        Macro(
            "sign_test",
            "two-sided p-value of the exact sign test (wins as likely as losses); for right and wrong answers,"
            " McNemar's test",
            (
                Parameter("wins", "documents on which a is better"),
                Parameter("losses", "documents on which b is better"),
            ),
        ),
        Macro(
            "at_fault",
            "party at fault for an attempt's state: model, environment, cluster, hub, harness or operator; only faults"
            " of"
            " model and operator are counted over all runs",
            (Parameter("state", "state of an attempt"),),
        ),
        Macro(
            "co2_of_kwh",
            "CO2 in kg at 269.8 g/kWh, the grid intensity used by the Open LLM Leaderboard",
            (Parameter("energy_kwh", "energy, in kWh"),),
        ),
        Macro(
            "estimate_kwh",
            "energy in kWh at 0.7 kW per GPU, as used by the Open LLM Leaderboard (8 H100 at 5.6 kW); null for no"
            " GPU-hours",
            (Parameter("gpu_hours", "GPU-hours"),),
        ),
    )
}
