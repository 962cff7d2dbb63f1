#pragma once
// Large semidefinite cones in K (plan/whole_cone.hpp), lane by lane: what is left of them, and solves with them.
//
// Rows of the cone are in its frame, T r = svec(B'RB) with a nonsingular B, in which its part of K is diag(w⁻¹): its multipliers
// are T'ζ, ζ = w ∘ (T A x - T r). Matrices A are not: faces F_a are columns of A, or other rows of it over the single entries of the
// cone's.
//
//   columns            the rest of K gets A'T' diag(w) T A
//   single variables   with u = T (a ∘ x), a the entries of the rows, what K says of them reads T⁻ᵀ(x̄/a - F'z) = w ∘ (u - T r) + ρ u, z
//                      the multipliers of the other rows: K gets -F T⁻¹ diag(1/(w + ρ)) T⁻ᵀF'. Their proximal term ρ is that of u
//
// Both are of one kind, with B⁻ᵀ in place of B for T⁻ᵀ; `frame` holds what each takes.
//
// Faces that are full columns of A do rotate: their entries in A are those of T F (cones/cones.hpp). Work is the same, and where
// one of them, as F = 11', ends up far smaller than its neighbours, B'FB has digits that B (w ∘ B'FB) B' loses.
//
// ⟨F_a, V(F_b)⟩, V(F) = B (w ∘ B'FB) B', is computed face by face, those with most entries first, so that each pair takes the
// entries of the sparser one (as SDPA does: Fujisawa, Kojima, Nakata 1997). Where all w are equal, as with the frames of
// scalings, V(F) = w XFX with X = BB', of which only the entries that other faces have are wanted.

#include "lanes/arena.hpp"
#include "lanes/dense.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class WholeBlocks {
 public:
  using M = MaskOf<V>;

  const V** frame;  // of each block, k × k by columns: B, or B⁻ᵀ where it is one of variables

  WholeBlocks(const PlanView& plan, Arena& arena) : frame(arena.take<const V*>(plan.whole.size())), plan_(plan) {
    Index order = 0, entries = 0;
    for (const WholeBlock& block : plan.whole) {
      order = std::max(order, plan.cones[block.cone].order);
      entries = std::max(entries, last_entry(block) - first_entry(block));
    }
    const Index square = order * order;
    for (V** v : {&Bt_, &X_, &G_, &Y_, &Z_}) *v = arena.take<V>(square);
    room_ = arena.take<V>(congruence_room(order));
    vector_ = arena.take<V>(order * (order + 1) / 2);
    value_ = arena.take<V>(entries);
    slot_ = arena.take<Index>(order);
    touched_ = arena.take<Index>(order);
    std::fill_n(slot_, slot_ ? order : 0, -1);
  }

  // Adds to the factor what the blocks leave of themselves. `weight` holds w of every row.
  void assemble(const V* A, const V* e, const V* weight, V rho, V* factor) {
    rho_ = rho;
    for (std::size_t n = 0; n < plan_.whole.size(); ++n) {
      const WholeBlock& block = plan_.whole[n];
      const ConeBlock& cone = plan_.cones[block.cone];
      read_faces(block, cone, A, e);
      if (block.of_variables)
        for (Index i = cone.first; i < cone.first + cone.rows(); ++i) factor[diagonal_of(i)] = splat<V>(1.0);
      add_products(block, cone.order, frame[n], A, weight + cone.first, factor);
    }
  }

  // Right-hand sides without the blocks: columns of dx, which holds those of the variables, and y of kept rows.
  void enter(const V* A, const V* e, const V* weight, const V* r2, V* dx, V* y) {
    for (std::size_t n = 0; n < plan_.whole.size(); ++n) {
      const WholeBlock& block = plan_.whole[n];
      const ConeBlock& cone = plan_.cones[block.cone];
      const V *w = weight + cone.first, *r = r2 + cone.first;
      if (!block.of_variables) {
        for (Index i = 0; i < cone.rows(); ++i) vector_[i] = w[i] * r[i];
        const auto add = [&](const FaceEntry& f) { dx[column_of(f)] += A[f.source] * vector_[svec_place(f.row, f.column)]; };
        for_entries(block, true, add);
        congruence<true>(vector_, frame[n], cone.order, room_);
        for_entries(block, false, add);
        continue;
      }
      for (Index i = 0; i < cone.rows(); ++i) vector_[i] = dx[variable_of(cone.first + i)] / A[plan_.A.indptr[cone.first + i]];
      congruence<false>(vector_, frame[n], cone.order, room_);
      for (Index i = 0; i < cone.rows(); ++i) vector_[i] = (vector_[i] + w[i] * r[i]) / (w[i] + rho_);
      congruence<true>(vector_, frame[n], cone.order, room_);
      for (Index i = 0; i < cone.rows(); ++i) vector_[i] /= A[plan_.A.indptr[cone.first + i]];
      for_each_entry(block, [&](const Face& face, const FaceEntry& entry) {
        y[face.position] -= e[face.row] * A[entry.source] * vector_[svec_place(entry.row, entry.column)];
      });
    }
  }

  // The solution in the blocks, from dx and dz of the rest.
  void leave(const V* A, const V* weight, const V* r1, const V* r2, V* dx, V* dz) {
    for (std::size_t n = 0; n < plan_.whole.size(); ++n) {
      const WholeBlock& block = plan_.whole[n];
      const ConeBlock& cone = plan_.cones[block.cone];
      const V *w = weight + cone.first, *r = r2 + cone.first;
      V* z = dz + cone.first;
      if (!block.of_variables) {
        fill<V>(z, cone.rows(), V{});
        const auto add = [&](const FaceEntry& f) { z[svec_place(f.row, f.column)] += A[f.source] * dx[column_of(f)]; };
        for_entries(block, false, add);
        congruence<false>(z, frame[n], cone.order, room_);
        for_entries(block, true, add);
        for (Index i = 0; i < cone.rows(); ++i) z[i] = w[i] * (z[i] - r[i]);
        continue;
      }
      for (Index i = 0; i < cone.rows(); ++i) vector_[i] = r1[variable_of(cone.first + i)];
      for_each_entry(block, [&](const Face& face, const FaceEntry& entry) {
        vector_[svec_place(entry.row, entry.column)] -= A[entry.source] * dz[face.row];
      });
      for (Index i = 0; i < cone.rows(); ++i) vector_[i] /= A[plan_.A.indptr[cone.first + i]];
      congruence<false>(vector_, frame[n], cone.order, room_);
      for (Index i = 0; i < cone.rows(); ++i) {
        vector_[i] = (vector_[i] + w[i] * r[i]) / (w[i] + rho_);
        z[i] = w[i] * (vector_[i] - r[i]);
      }
      congruence<true>(vector_, frame[n], cone.order, room_);
      for (Index i = 0; i < cone.rows(); ++i) dx[variable_of(cone.first + i)] = vector_[i] / A[plan_.A.indptr[cone.first + i]];
    }
  }

 private:
  // The variable that is row i.
  Index variable_of(Index row) const { return plan_.A.indices[plan_.A.indptr[row]]; }
  Index column_of(const FaceEntry& entry) const { return plan_.A.indices[entry.source]; }
  Index diagonal_of(Index row) const { return plan_.diagonal[plan_.variable_position[variable_of(row)]]; }
  const Face& face(const WholeBlock& block, Index t) const {
    return plan_.faces[block.faces.begin + plan_.face_order[block.by_density.begin + t]];
  }
  Index first_entry(const WholeBlock& block) const {
    return block.faces.size() > 0 ? plan_.faces[block.faces.begin].entries.begin : 0;
  }
  Index last_entry(const WholeBlock& block) const {
    return block.faces.size() > 0 ? plan_.faces[block.faces.end - 1].entries.end : 0;
  }

  template <class F>
  CVXL_INLINE void for_each_entry(const WholeBlock& block, F&& f) const {
    for (Index t = block.faces.begin; t < block.faces.end; ++t)
      for (Index k = plan_.faces[t].entries.begin; k < plan_.faces[t].entries.end; ++k) f(plan_.faces[t], plan_.face_entries[k]);
  }

  // Entries of faces that rotate, or of the others.
  template <class F>
  CVXL_INLINE void for_entries(const WholeBlock& block, bool rotating, F&& f) const {
    for (const Face& face : plan_.faces.subspan(block.faces.begin, block.faces.size()))
      if (block.rotates(face, plan_.cones[block.cone]) == rotating)
        for (const FaceEntry& entry : entries_of(face)) f(entry);
  }
  std::span<const FaceEntry> entries_of(const Face& face) const {
    return plan_.face_entries.subspan(face.entries.begin, face.entries.size());
  }

  // Entries of the matrices F, those off the diagonal as they stand twice, into value_.
  void read_faces(const WholeBlock& block, const ConeBlock& cone, const V* A, const V* e) {
    V* value = value_;
    for_each_entry(block, [&](const Face& face, const FaceEntry& entry) {
      V f = A[entry.source];
      if (block.of_variables) f *= e[face.row] / A[plan_.A.indptr[cone.first + svec_place(entry.row, entry.column)]];
      *value++ = entry.row == entry.column ? f : f * sqrt_half<V>;
    });
  }

  void add_products(const WholeBlock& block, Index k, const V* B, const V* A, const V* w, V* factor) {
    const auto weight = [&](Index i) { return block.of_variables ? 1.0 / (w[i] + rho_) : w[i]; };
    M even = ~M{};
    for (Index i = 1; i < k * (k + 1) / 2; ++i) even &= w[i] == w[0];
    for (Index j = 0; j < k; ++j)
      for (Index i = 0; i < k; ++i) Bt_[i * k + j] = B[j * k + i];
    if (any(even)) square(B, k);
    Index wanted = last_entry(block) - first_entry(block);
    for (Index t = 0; t < block.faces.size(); ++t) {
      const Face& from = face(block, t);
      const bool sparse = wanted < k * k / 8;  // entries are wanted one by one
      wanted -= from.entries.size();
      if (block.rotates(from, plan_.cones[block.cone])) {
        with_rotating(block, t, B, A, w, factor);
        continue;
      }
      if (any(even)) {
        const Index rows = multiply_face(block, from, X_, k);
        with_products(block, t, sparse, k, entry_of_even(rows, k), [&](V product) { return weight(0) * product; }, even, factor);
      }
      if (any(~even)) {
        const Index rows = multiply_face(block, from, Bt_, k);
        weigh(rows, k, weight);
        with_products(block, t, sparse, k, entry_of_uneven(k), [](V product) { return product; }, M(~even), factor);
      }
    }
  }

  // X = BB'
  void square(const V* B, Index k) {
    multiply<true>(
        k, k, k, room_, [&](Index i, Index l) { return B[l * k + i]; }, [&](Index l, Index j) { return Bt_[j * k + l]; },
        [&](Index i, Index j, V sum) { X_[i * k + j] = X_[j * k + i] = sum; });
  }

  // G ← F R for the rows of F that are not zero, which touched_ lists; R by rows. Returns how many.
  Index multiply_face(const WholeBlock& block, const Face& face, const V* R, Index k) {
    Index rows = 0;
    const auto row_of = [&](Index i) {
      if (slot_[i] < 0) {
        slot_[i] = rows;
        std::fill_n(G_ + rows * k, k, V{});
        touched_[rows++] = i;
      }
      return G_ + slot_[i] * k;
    };
    const auto add = [&](Index i, Index j, V f) {
      V* to = row_of(i);
      const V* from = R + j * k;
      for (Index c = 0; c < k; ++c) to[c] += f * from[c];
    };
    for (Index n = face.entries.begin; n < face.entries.end; ++n) {
      const FaceEntry& entry = plan_.face_entries[n];
      const V f = value_[n - first_entry(block)];
      add(entry.row, entry.column, f);
      if (entry.row != entry.column) add(entry.column, entry.row, f);
    }
    for (Index r = 0; r < rows; ++r) slot_[touched_[r]] = -1;
    return rows;
  }

  // Z ← B (w ∘ B'G) by rows, G of multiply_face.
  template <class Weight>
  void weigh(Index rows, Index k, Weight&& weight) {
    multiply<true>(
        k, k, rows, room_, [&](Index i, Index l) { return Bt_[touched_[l] * k + i]; },
        [&](Index l, Index j) { return G_[l * k + j]; },
        [&](Index i, Index j, V sum) {
          if (i >= j) Y_[i * k + j] = Y_[j * k + i] = weight(svec_place(j, i)) * sum;
        });
    multiply(
        k, k, k, room_, [&](Index i, Index l) { return Bt_[i * k + l]; }, [&](Index l, Index j) { return Y_[l * k + j]; },
        [&](Index i, Index j, V sum) { Z_[i * k + j] = sum; });
  }

  // Entries (i, j) of V(F): as the terms of a sum, how many, and their factors.
  auto entry_of_even(Index rows, Index k) const {
    const auto left = [this, k](Index i, Index l) { return X_[i * k + touched_[l]]; };
    const auto right = [this, k](Index l, Index j) { return G_[l * k + j]; };
    return std::tuple(rows, left, right);
  }
  auto entry_of_uneven(Index k) const {
    const auto left = [this, k](Index i, Index l) { return Z_[i * k + l]; };
    const auto right = [this, k](Index l, Index j) { return Bt_[j * k + l]; };
    return std::tuple(k, left, right);
  }

  // Adds ⟨F_a, V(F_b)⟩, b the t-th face and a each from there on, to the factor in the given lanes.
  template <class Entry, class Scale>
  CVXL_INLINE void with_products(const WholeBlock& block, Index t, bool sparse, Index k, const Entry& entry, Scale&& scale, M lanes,
                                 V* factor) {
    const auto& [terms, left, right] = entry;
    if (!sparse)
      multiply<true>(k, k, terms, room_, left, right, [&](Index i, Index j, V sum) { Y_[i * k + j] = Y_[j * k + i] = sum; });
    for (Index s = t; s < block.faces.size(); ++s) {
      const Face& own = face(block, s);
      V product = V{};
      for (Index n = own.entries.begin; n < own.entries.end; ++n) {
        const FaceEntry& at = plan_.face_entries[n];
        V sum = V{};
        if (sparse)
          for (Index l = 0; l < terms; ++l) sum += left(at.row, l) * right(l, at.column);
        else
          sum = Y_[at.row * k + at.column];
        product += value_[n - first_entry(block)] * (at.row == at.column ? sum : sum + sum);
      }
      const V change = select(lanes, scale(product), V{});
      target(block, s, t, factor) += block.of_variables ? -change : change;
    }
  }

  // The same where the t-th face rotates, as those before it do: A has svec(B'FB).
  void with_rotating(const WholeBlock& block, Index t, const V* B, const V* A, const V* w, V* factor) {
    const ConeBlock& c = plan_.cones[block.cone];
    const auto product = [&](const Face& face) {
      V sum = V{};
      for (const FaceEntry& f : entries_of(face)) sum += A[f.source] * vector_[svec_place(f.row, f.column)];
      return sum;
    };
    for (Index i = 0; const FaceEntry& at : entries_of(face(block, t))) vector_[i] = w[i] * A[at.source], ++i;
    Index s = t;
    for (; s < block.faces.size() && block.rotates(face(block, s), c); ++s) target(block, s, t, factor) += product(face(block, s));
    if (s < block.faces.size()) congruence<true>(vector_, B, c.order, room_);
    for (; s < block.faces.size(); ++s) target(block, s, t, factor) += product(face(block, s));
  }

  // The entry of the factor where two faces meet.
  V& target(const WholeBlock& block, Index s, Index t, V* factor) const {
    const Index a = plan_.face_order[block.by_density.begin + s], b = plan_.face_order[block.by_density.begin + t];
    const Face& low = plan_.faces[block.faces.begin + std::min(a, b)];
    return factor[low.column + plan_.relative[low.relative + std::max(a, b)]];
  }

  const PlanView& plan_;
  V *Bt_, *X_, *G_, *Y_, *Z_, *room_, *vector_, *value_;
  Index *slot_, *touched_;
  V rho_{};
};

}  // namespace cvxl::CVXL_ISA
