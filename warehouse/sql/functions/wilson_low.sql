-- Lower bound of the 95% interval of a mean of values between 0 and 1, from its sampling variance over n documents.
select main.wilson_bound($value, main.effective_size($value, $variance, $n), -1.959963984540054)
