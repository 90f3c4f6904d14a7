#include "experiments/cli/command_line.h"
#include "variants/previous.h"

int main(int argc, char** argv) {
  return longattn::run_command_line(argc, argv, {&longattn::kPrevious});
}
