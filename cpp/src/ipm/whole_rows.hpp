#pragma once
// Directions of cones that leave K as a whole (kkt/whole_blocks.hpp).
//
// Their frames are as ill-conditioned as H is, 1/μ near the solution, and a direction that comes out of them has lost as many
// digits. Which of its equations has to do without them is a choice: here complementarity, of which the next step takes care, so
// that residuals shrink by exactly the length of a step.

#include "ipm/embedding.hpp"

namespace cvxl::CVXL_ISA {

// ds of such cones from A dx + ds - b dτ = -keep r_z, and dz, where their rows are single variables, from A'dz + q dτ = -keep r_x.
template <class V>
void restore_residuals(Embedding<V>& st, V keep, V dtau) {
  const PlanView& plan = st.plan;
  for (const WholeBlock& block : plan.whole) {
    const ConeBlock& cone = plan.cones[block.cone];
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) {
      const Index begin = plan.A.indptr[i], end = plan.A.indptr[i + 1];
      V sum = V{};
      for (Index k = begin; k < end; ++k) sum += st.program.A[k] * st.dx[plan.A.indices[k]];
      st.ds[i] = dtau * st.program.b[i] - keep * st.rz[i] - sum;
      if (const Index j = block.of_variables ? plan.A.indices[begin] : 0; block.of_variables)
        st.dz[i] = -(keep * st.rx[j] + dtau * st.program.q[j]);
    }
    if (!block.of_variables) continue;
    for (Index f = block.faces.begin; f < block.faces.end; ++f)
      for (Index n = plan.faces[f].entries.begin; n < plan.faces[f].entries.end; ++n) {
        const FaceEntry& entry = plan.face_entries[n];
        st.dz[cone.first + svec_place(entry.row, entry.column)] -= st.program.A[entry.source] * st.dz[plan.faces[f].row];
      }
    for (Index i = cone.first; i < cone.first + cone.rows(); ++i) st.dz[i] /= st.program.A[plan.A.indptr[i]];
  }
}

}  // namespace cvxl::CVXL_ISA
