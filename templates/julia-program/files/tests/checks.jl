# Tests: `catalog run ./ --function test`.

"Fails with the name of what does not hold."
check(name, holds) = holds || error("`$name` does not hold")

"Gives how many things hold."
function test()
    checks = [
        "the mean of equal values is that value" => mean([2.0, 2.0, 2.0]) == 2.0,
        "a single value deviates from nothing" => deviation([5.0]) == 0.0,
        "the deviation is that of a sample" => deviation([1.0, 3.0]) == sqrt(2.0),
        "a straight line has its slope as its trend" => trend([1.0, 3.0, 5.0]) == 2.0,
        "a flat line has no trend" => trend([4.0, 4.0]) == 0.0,
    ]
    foreach(pair -> check(pair...), checks)
    return length(checks)
end
