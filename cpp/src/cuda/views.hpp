#pragma once
// What kernels see of a problem and of a batch, added to what is sent to a device.

#include "cuda/device_engine.hpp"
#include "cuda/upload.hpp"
#include "team/view.hpp"

namespace cvxl::cuda {

inline void add_plan(Upload& upload, PlanView& p) {
  for (std::span<const Index>* s : {&p.variable_of,
                                    &p.P.indptr,
                                    &p.P.indices,
                                    &p.A.indptr,
                                    &p.A.indices,
                                    &p.P_source,
                                    &p.A_source,
                                    &p.variable_position,
                                    &p.row_position,
                                    &p.diagonal,
                                    &p.P_target,
                                    &p.A_target,
                                    &p.offsets,
                                    &p.positions,
                                    &p.relative,
                                    &p.group_rows,
                                    &p.P_columns.begin,
                                    &p.P_columns.row,
                                    &p.P_columns.entry,
                                    &p.A_columns.begin,
                                    &p.A_columns.row,
                                    &p.A_columns.entry,
                                    &p.by_level.wide_panels,
                                    &p.by_level.wide_groups})
    upload.add(*s);
  upload.add(p.by_level.levels);
  upload.add(p.by_level.sums);
  upload.add(p.by_level.products);
  upload.add(p.by_level.terms);
  upload.add(p.cones);
  upload.add(p.loose);
  upload.add(p.pivot_sign);
  upload.add(p.groups);
  upload.add(p.supernodes);
  upload.add(p.segments);
}

inline void add_problem(Upload& upload, ProblemView& v) {
  add_plan(upload, v.plan);
  for (std::span<const Index>* s :
       {&v.M_begin, &v.R_begin, &v.R_column, &v.M_column_begin, &v.M_row, &v.R_column_begin, &v.R_row, &v.parameter_begin})
    upload.add(*s);
  for (std::span<const double>* s : {&v.R_coefficient, &v.M_column_coefficient, &v.R_column_coefficient}) upload.add(*s);
  upload.add(v.M_terms);
  upload.add(v.place);
}

// Parameters with their strides in one array.
struct Flat {
  const DeviceBatch& batch;
  std::vector<std::int64_t> strides;

  explicit Flat(const DeviceBatch& b) : batch(b) {
    for (const auto& s : b.strides) strides.insert(strides.end(), s.begin(), s.end());
  }
  ParametersView view(double constant) const { return {batch.source, batch.shape, strides, constant}; }
};

inline void add_parameters(Upload& upload, ParametersView& v) {
  upload.add(v.source);
  upload.add(v.shape);
  upload.add(v.strides);
}

}  // namespace cvxl::cuda
