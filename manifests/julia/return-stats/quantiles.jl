"Gives a quantile, between two values where it falls between them."
function quantile(values::AbstractVector{<:Real}, share::Real)
    0 <= share <= 1 || throw(ArgumentError("a share of $share is not between 0 and 1"))
    sorted = sort(values)
    place = 1 + share * (length(sorted) - 1)
    below = floor(Int, place)
    above = min(below + 1, length(sorted))
    return sorted[below] + (place - below) * (sorted[above] - sorted[below])
end
