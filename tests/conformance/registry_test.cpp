#include "variants/registry.h"

#include <gtest/gtest.h>

#include "experiments/check/check.h"

namespace longattn {
namespace {

class BuiltinVariants : public testing::TestWithParam<const Variant*> {};

TEST_P(BuiltinVariants, KeepsTheLawsThatItDeclares) {
  const CheckReport report = check_variant(*GetParam());
  EXPECT_GT(report.cases, 0);
  for (const BrokenLaw& violation : report.violations) {
    ADD_FAILURE() << violation.law << "\n  on    " << violation.problem << "\n  found "
                  << violation.detail;
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, BuiltinVariants, testing::ValuesIn(builtin_variants()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace longattn
