"Statistics of returns: rows are days, columns are assets."
module ReturnStats

using LinearAlgebra

export portfolio_returns, deviation, quantile

include("quantiles.jl")

"Gives the return of each day for holdings with these weights."
function portfolio_returns(returns::AbstractMatrix{<:Real}, weights::AbstractVector{<:Real})
    size(returns, 2) == length(weights) ||
        throw(DimensionMismatch("$(size(returns, 2)) assets and $(length(weights)) weights"))
    return returns * weights
end

mean(values) = sum(values) / length(values)

"Gives the sample's standard deviation."
deviation(values) = norm(values .- mean(values)) / sqrt(length(values) - 1)

end
