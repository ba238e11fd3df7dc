# What can be said of a series of numbers.

"Gives the arithmetic mean."
mean(values) = sum(values) / length(values)

"Gives the standard deviation of a sample; zero for a single value."
function deviation(values)
    length(values) < 2 && return 0.0
    centre = mean(values)
    return sqrt(sum(value -> (value - centre)^2, values) / (length(values) - 1))
end

"Gives the slope of the straight line that fits best."
function trend(values)
    length(values) < 2 && return 0.0
    steps = 1:length(values)
    centre, level = mean(steps), mean(values)
    rise = sum((step - centre) * (value - level) for (step, value) in zip(steps, values))
    return rise / sum(step -> (step - centre)^2, steps)
end
