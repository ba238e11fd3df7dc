using ReturnStats

"What a portfolio may lose."
struct Risk
    days::Int
    deviation::Float64
    value_at_risk::Float64
    worst::Float64
end

"Gives the risk of holdings over simulated days, at a level of confidence."
function main(days = 2_000, confidence = 0.99)
    returns = simulated(days, 3)
    values = portfolio_returns(returns, [0.5, 0.3, 0.2])
    println("simulated $days days of 3 assets")
    return Risk(days, deviation(values), -quantile(values, 1 - confidence), -minimum(values))
end

"Gives returns that are the same on every machine: a linear congruential generator, twelve draws for each."
function simulated(days, assets)
    state = UInt64(42)
    draw() = (state = state * 0x5851f42d4c957f2d + 0x14057b7ef767814f; (state >> 11) / 2.0^53)
    return [0.0004 + 0.01 * asset * (sum(_ -> draw(), 1:12) - 6) for _ in 1:days, asset in 1:assets]
end
