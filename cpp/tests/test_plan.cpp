// The plan of a problem against brute force on dense matrices.

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "plan/plan.hpp"
#include "random_programs.hpp"
#include "test.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

using Entry = std::pair<Index, Index>;

// Factor offset → (row position, column position), from the supernodes alone.
std::map<Index, Entry> stored_entries(const Plan& plan) {
  std::map<Index, Entry> at;
  for (const Supernode& node : plan.supernodes)
    for (Index c = 0; c < node.columns; ++c)
      for (Index r = c; r < node.rows; ++r) {
        const Index row = r < node.columns ? node.first + r : plan.positions[node.update.rows.begin + r - node.columns];
        CHECK(at.emplace(node.panel + c * node.rows + r, Entry{row, node.first + c}).second);
      }
  return at;
}

Entry ordered(Index a, Index b) { return {std::max(a, b), std::min(a, b)}; }

// Every pair a ≥ b of the update's rows is written where the factor stores it.
void check_update(const Plan& plan, const Update& update, const std::map<Index, Entry>& at) {
  const Index* rows = plan.positions.data() + update.rows.begin;
  Index next = 0;
  for (Index s = update.segments.begin; s < update.segments.end; ++s) {
    const Segment& segment = plan.segments[s];
    CHECK(segment.begin == next && segment.end > segment.begin);
    next = segment.end;
    for (Index b = segment.begin; b < segment.end; ++b)
      for (Index a = b; a < update.rows.size(); ++a) {
        const Index offset =
            segment.panel + (rows[b] - segment.first) * segment.ld + plan.relative[segment.relative + a - segment.begin];
        const auto found = at.find(offset);
        CHECK(found != at.end() && found->second == Entry(rows[a], rows[b]));
      }
  }
  CHECK(next == update.rows.size());
}

// Columns are in one bundle at most, with the rows that their supernode shares, and complete with the last of them.
void check_bundles(const Plan& plan, const std::map<Index, Entry>& at) {
  std::vector<Index> bundled(plan.nodes);
  std::vector<const Supernode*> of(plan.nodes);
  for (const Supernode& node : plan.supernodes) std::fill_n(of.begin() + node.first, node.columns, &node);
  Index complete = 0;
  for (const Supernode& node : plan.supernodes)
    for (Index k = node.bundles.begin; k < node.bundles.end; ++k, ++complete) {
      const Bundle& bundle = plan.bundles[k];
      check_update(plan, bundle.update, at);
      const Index count = bundle.columns.size(), *rows = plan.positions.data() + bundle.update.rows.begin;
      CHECK(count > 1 && count <= plan.widest && count == bundle.update.offsets.size());
      CHECK(of[plan.bundle_columns[bundle.columns.end - 1]] == &node);
      for (Index t = 0; t < count; ++t) {
        const Index column = plan.bundle_columns[bundle.columns.begin + t], offset = plan.offsets[bundle.update.offsets.begin + t];
        ++bundled[column];
        CHECK(of[column]->shared.size() == bundle.update.rows.size() && column <= node.first + node.columns);
        for (Index a = 0; a < bundle.update.rows.size(); ++a) {
          CHECK(at.at(offset + a) == Entry(rows[a], column));
          CHECK(plan.positions[of[column]->update.rows.begin + of[column]->shared.begin + a] == rows[a]);
        }
      }
    }
  CHECK(complete == static_cast<Index>(plan.bundles.size()));
  for (Index p = 0; p < plan.nodes; ++p) CHECK(bundled[p] == (of[p]->shared.size() > 0 ? 1 : 0));
  for (const Supernode& node : plan.supernodes)
    for (Index s = node.update.segments.begin; s < node.update.segments.end; ++s) {
      const Segment& segment = plan.segments[s];
      CHECK(segment.end <= node.shared.begin || segment.begin >= node.shared.end ||
            (node.shared.begin <= segment.begin && segment.end <= node.shared.end));
    }
}

// Internal variables are the user's in another order, increasing in position; every entry that is stored is stored once.
void check_variables(const Plan& plan, const Structure& s, const std::map<Index, Entry>& at) {
  for (const auto& [offset, entry] : at) CHECK(offset >= 0 && offset < plan.factor_size);
  CHECK(plan.factor_nonzeros == static_cast<std::int64_t>(at.size()));
  std::vector<Index> all(s.n);
  std::iota(all.begin(), all.end(), 0);
  CHECK(plan.variable_of.size() == all.size() && std::is_permutation(all.begin(), all.end(), plan.variable_of.begin()));
  CHECK(std::is_sorted(plan.variable_position.begin(), plan.variable_position.end()));
  for (Index p = 0; p < plan.nodes; ++p) CHECK(at.at(plan.diagonal[p]) == Entry(p, p));
}

// Off-diagonal entries of K by positions, from the structure alone.
std::set<Entry> entries_of(const Plan& plan, const Structure& s) {
  std::vector<Index> position(s.n);
  for (Index j = 0; j < s.n; ++j) position[plan.variable_of[j]] = plan.variable_position[j];
  std::set<Entry> entries;
  for (Index i = 0; i < s.n; ++i)
    for (Index j : s.P.row(i)) entries.insert(ordered(position[i], position[j]));
  for (Index i = 0; i < s.m; ++i)
    if (!plan.is_condensed(i))
      for (Index j : s.A.row(i)) entries.insert(ordered(plan.row_position[i], position[j]));
  return entries;
}

// The entries of the plan's P and A read the user's entry of the same row and variable, and go where K has it.
void check_entries(const Plan& plan, const Structure& s, const std::map<Index, Entry>& at, const std::set<Entry>& K) {
  std::set<Entry> planned;
  for (Index i = 0; i < s.n; ++i)
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
      planned.insert(at.at(plan.P_target[k]));
      CHECK(at.at(plan.P_target[k]) == ordered(plan.variable_position[i], plan.variable_position[plan.P.indices[k]]));
    }
  Index condensed = 0, entries = 0;
  for (Index i = 0; i < s.m; ++i) {
    condensed += plan.is_condensed(i);
    CHECK(!plan.is_condensed(i) || i >= s.zero);
    const auto row = plan.A.row(i);
    CHECK(std::is_sorted(row.begin(), row.end()));
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k, ++entries) {
      CHECK((plan.A_target[k] < 0) == plan.is_condensed(i));
      if (!plan.is_condensed(i)) planned.insert(at.at(plan.A_target[k]));
      const Index source = plan.A_source[k] - s.A_offset();
      CHECK(source >= s.A.indptr[i] && source < s.A.indptr[i + 1] && s.A.indices[source] == plan.variable_of[plan.A.indices[k]]);
    }
  }
  CHECK(planned == K && entries == s.A.nnz() && condensed == plan.condensed);
}

// Condensed rows with two entries or more are in exactly one group, with their own operands and positions.
void check_groups(const Plan& plan, const Structure& s, const std::map<Index, Entry>& at) {
  std::vector<Index> seen(s.m);
  for (Index i : plan.singletons) {
    ++seen[i];
    CHECK(plan.A.row(i).size() == 1);
  }
  for (const RowGroup& group : plan.groups) {
    CHECK(group.rows.size() == group.update.offsets.size() && group.rows.size() <= plan.widest);
    check_update(plan, group.update, at);
    for (Index t = 0; t < group.rows.size(); ++t) {
      const Index i = plan.group_rows[group.rows.begin + t];
      ++seen[i];
      CHECK(plan.offsets[group.update.offsets.begin + t] == plan.A.indptr[i]);
      CHECK(static_cast<Index>(plan.A.row(i).size()) == group.update.rows.size());
      for (Index k = 0; k < group.update.rows.size(); ++k)
        CHECK(plan.positions[group.update.rows.begin + k] == plan.variable_position[plan.A.row(i)[k]]);
    }
  }
  for (Index i = 0; i < s.m; ++i) CHECK(seen[i] == (plan.is_condensed(i) && !plan.A.row(i).empty() ? 1 : 0));
}

// Every pair of faces has its place in the factor; the faces hold all entries of their cone, or of its variables in other rows.
void check_faces(const Plan& plan, const std::map<Index, Entry>& at) {
  for (const WholeBlock& block : plan.whole) {
    const ConeBlock& cone = plan.cones[block.cone];
    std::set<Index> own, sources;  // variables of the cone; entries that belong to faces
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      CHECK(plan.is_whole(i));
      own.insert(plan.A.row(i).begin(), plan.A.row(i).end());
    }
    for (Index b = 0; b < block.faces.size(); ++b) {
      const Face& face = plan.faces[block.faces.begin + b];
      for (Index a = b; a < block.faces.size(); ++a)
        CHECK(at.at(face.column + plan.relative[face.relative + a]) ==
              Entry(plan.faces[block.faces.begin + a].position, face.position));
      for (Index k = face.entries.begin; k < face.entries.end; ++k) {
        const auto& [row, column, source] = plan.face_entries[k];
        const Index in_cone = cone.first + column * (column + 1) / 2 + row, variable = plan.A.indices[source];
        CHECK(row <= column && column < cone.order && sources.insert(source).second);
        if (block.of_variables)
          CHECK(plan.A.row(in_cone)[0] == variable && plan.row_position[face.row] == face.position);
        else
          CHECK(plan.A.indptr[in_cone] <= source && source < plan.A.indptr[in_cone + 1] &&
                plan.variable_position[variable] == face.position);
      }
    }
    for (Index i = 0; i < plan.m; ++i)
      for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
        const bool inside = i >= cone.first && i < cone.first + cone.rows();
        const bool expected = block.of_variables ? !inside && own.contains(plan.A.indices[k]) : inside;
        CHECK(sources.contains(k) == expected);
      }
  }
}

// Elimination of K, with what groups add to it, creates nothing that is not stored.
void check_fill(const Plan& plan, const std::map<Index, Entry>& at, const std::set<Entry>& entries) {
  using Matrix = std::vector<std::vector<bool>>;
  Matrix stored(plan.nodes, std::vector<bool>(plan.nodes)), K = stored;
  for (const auto& [offset, entry] : at) stored[entry.first][entry.second] = true;
  for (const auto& [r, c] : entries) K[r][c] = true;
  for (const RowGroup& group : plan.groups)
    for (Index a = 0; a < group.update.rows.size(); ++a)
      for (Index b = 0; b <= a; ++b)
        K[plan.positions[group.update.rows.begin + a]][plan.positions[group.update.rows.begin + b]] = true;
  for (Index c = 0; c < plan.nodes; ++c)
    for (Index a = c + 1; a < plan.nodes; ++a) {
      if (!K[a][c]) continue;
      CHECK(stored[a][c]);
      for (Index b = c + 1; b <= a; ++b)
        if (K[b][c]) K[a][b] = true;
    }
}

}  // namespace

TEST(plan_places_every_entry) {
  for (const auto& [name, s] : structures(3)) {
    const Plan plan = make_plan(s);
    const auto at = stored_entries(plan);
    const std::set<Entry> K = entries_of(plan, s);
    check_variables(plan, s, at);
    check_entries(plan, s, at, K);
    check_groups(plan, s, at);
    for (const Supernode& node : plan.supernodes) {
      CHECK(node.columns <= plan.widest);
      check_update(plan, node.update, at);
    }
    check_bundles(plan, at);
    check_fill(plan, at, K);
    if (failures) std::fprintf(stderr, "  in structure: %s\n", name.c_str());
  }
}

TEST(the_random_structures_cover_the_kernels) {
  std::set<Index> columns, remainders;
  bool both = false, grouped = false, singleton = false, kept_inequality = false, bundled = false, bundled_in_part = false;
  for (const auto& [name, s] : structures(3)) {
    const Plan plan = make_plan(s);
    for (const Supernode& node : plan.supernodes) {
      columns.insert(node.columns);
      if (node.rows > node.columns) remainders.insert((node.rows - node.columns) % 4);
      (node.shared.size() == node.rows - node.columns ? bundled : bundled_in_part) |= node.shared.size() > 0;
    }
    both |= plan.condensed > 0 && plan.nodes > plan.n;
    grouped |= std::any_of(plan.groups.begin(), plan.groups.end(), [](const RowGroup& g) { return g.rows.size() > 1; });
    singleton |= !plan.singletons.empty();
    for (Index i = s.zero; i < s.m; ++i) kept_inequality |= !plan.is_condensed(i);
  }
  for (Index c = 1; c <= 9; ++c) CHECK(columns.count(c));
  CHECK(remainders.size() == 4);
  CHECK(both && grouped && singleton && kept_inequality && bundled && bundled_in_part);
}

TEST(plan_says_where_active_sets_can_be_guessed) {
  const auto guessable = [](Index n, Index m, Index zero, auto&& P, auto&& A) {
    return make_plan({n, m, zero, make_pattern(n, n, [&](Index i, Index j) { return j <= i && P(i, j); }), make_pattern(m, n, A)})
        .guessable;
  };
  const auto none = [](Index, Index) { return false; };
  const auto full = [](Index, Index) { return true; };
  const auto diagonal = [](Index i, Index j) { return i == j; };
  const auto box = [](Index i, Index j) { return i % 6 == j; };
  const auto first_half = [](Index i, Index j) { return i == j && i < 3; };
  CHECK(guessable(6, 6, 0, full, full));
  CHECK(guessable(6, 12, 0, diagonal, box));        // two bounds of a variable count once
  CHECK(!guessable(6, 12, 0, diagonal, full));      // more rows than degrees of freedom
  CHECK(!guessable(6, 10, 4, full, full) && guessable(6, 6, 4, full, full));
  CHECK(!guessable(6, 6, 0, none, full));           // a linear program
  CHECK(!guessable(6, 6, 0, first_half, full));     // variables without curvature, …
  CHECK(guessable(6, 5, 3, first_half, full));      // … which equalities may lend them
  CHECK(!guessable(6, 5, 2, first_half, full));
}

TEST(plan_of_cones_that_leave_as_a_whole) {
  bool of_variables = false, of_columns = false;
  for (const auto& [name, s] : whole_structures(3)) {
    const Plan plan = make_plan(s);
    const auto at = stored_entries(plan);
    check_variables(plan, s, at);
    check_faces(plan, at);
    CHECK(plan.whole.size() ==
          static_cast<std::size_t>(std::count_if(s.cones.begin(), s.cones.end(), [](const Cone& c) { return c.whole(); })));
    for (const WholeBlock& block : plan.whole) (block.of_variables ? of_variables : of_columns) = true;
    if (failures) std::fprintf(stderr, "  in structure: %s\n", name.c_str());
  }
  CHECK(of_variables && of_columns);
}
