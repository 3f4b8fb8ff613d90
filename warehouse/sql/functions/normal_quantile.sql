-- Quantile of the standard normal distribution, to 1e-8 (Acklam's rational approximation); probability within 0..1.
select
    case
        when $probability < 0.02425 then -main.normal_quantile_tail(sqrt(-2 * ln($probability)))
        when $probability > 0.97575 then main.normal_quantile_tail(sqrt(-2 * ln(1 - $probability)))
        else main.normal_quantile_middle($probability - 0.5)
    end
