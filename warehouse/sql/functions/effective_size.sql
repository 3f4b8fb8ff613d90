-- Number of independent documents that would give a mean its sampling variance (Korn & Graubard 1998);
-- n if all answers are the same.
select case when $variance > 0 and $value > 0 and $value < 1 then $value * (1 - $value) / $variance else $n end
