"""
Kelly betting
=============

Gamblers who bet the Kelly fractions, which maximize the expected logarithm of wealth, grow
fastest, provided that the probabilities are known. With estimated ones they bet too much and go
under. Here a layer bets on horse races, and one number is learned through it: how much of the
estimates to believe, and how much of the bookmaker's odds.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# Races of five horses. The bookmaker's odds leave 5 % to the bookmaker; ours are frequencies in
# 20 past races.
horses, past = 5, 20
torch.manual_seed(0)


def races(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True probabilities, our estimates, and what one unit on the winner pays, (count, 5) each."""
    fair = torch.full((count, horses), 4.0, dtype=torch.float64)
    true = torch.distributions.Dirichlet(fair).sample()
    seen = torch.distributions.Multinomial(past, true).sample() / past
    public = torch.distributions.Dirichlet(15 * true + 1).sample()
    return true, seen, 0.95 / (0.95 * public + 0.05 / horses)


# %%
# The problem, once: make the expected logarithm of wealth large. Wealth has a variable of its
# own, because a parameter may multiply a variable, but not what contains another parameter.
wealth, stakes = cp.Variable(horses), cp.Variable(horses, nonneg=True)
kept = cp.Variable(nonneg=True)
belief, payoff = cp.Parameter(horses, nonneg=True), cp.Parameter(horses, nonneg=True)
rules = [wealth == kept + cp.multiply(payoff, stakes), kept + cp.sum(stakes) == 1, kept >= 0.01]
problem = cp.Problem(cp.Maximize(belief @ cp.log(wealth)), rules)
layer = CvxpyLayer(problem, [belief, payoff], [stakes, kept])


def outcomes(trust: torch.Tensor, seen: torch.Tensor, payoff: torch.Tensor) -> torch.Tensor:
    """Logarithm of the wealth (B, 5) if each horse wins, for this trust in the estimates."""
    public = (1 / payoff) / (1 / payoff).sum(-1, keepdim=True)
    stakes, kept = layer(trust * seen + (1 - trust) * public, payoff)
    return (kept[:, None] + payoff * stakes).log()


# %%
# Trust is learned from the winners of 2000 races alone; the true probabilities stay hidden.
true, seen, payoff_seen = races(2000)
winners = torch.multinomial(true, 1)
logit = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([logit], lr=0.1)
for _ in range(60):
    loss = -outcomes(logit.sigmoid(), seen, payoff_seen).gather(1, winners).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
trust = logit.sigmoid().item()

# %%
# What each amount of trust earns in 2000 new races, and the wealth of three gamblers, one of whom
# knows the true probabilities
true, seen, payoff_seen = races(2000)
winners = torch.multinomial(true, 1)
grid = torch.linspace(0, 1, 21, dtype=torch.float64)
with torch.no_grad():
    growth = [(true * outcomes(t, seen, payoff_seen)).sum(-1).mean() for t in grid]
    rates = 100 * torch.stack(growth)
    gamblers = {
        "knows the truth": outcomes(torch.tensor(1.0), true, payoff_seen),
        f"learned trust, {trust:.2f}": outcomes(torch.tensor(trust), seen, payoff_seen),
        "trusts the estimates": outcomes(torch.tensor(1.0), seen, payoff_seen),
    }
best = grid[rates.argmax()].item()
print(f"trust learned from winners: {trust:.2f}; best in hindsight on new races: {best:.2f}")
assert abs(trust - best) < 0.15

plt.style.use("petroff10")
figure, (rate, path) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
rate.plot(grid, rates, lw=2.5)
rate.axvline(trust, color="k", ls="--", label="learned")
rate.axhline(0, color="0.7", lw=1)
rate.set(xlabel="trust in the estimates", ylabel="expected growth per race, %")
rate.legend(frameon=False)
for name, logs in gamblers.items():
    path.semilogy(logs.gather(1, winners).cumsum(0)[:300].exp(), lw=2, label=name)
path.set(xlabel="race", ylabel="wealth")
path.legend(frameon=False)
plt.show()
