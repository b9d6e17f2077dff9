"""An emulator library for CMSSW: the adder graph as C++ behind the interface of hls4mlEmulatorExtras.

CMSSW loads `<name>_<version>.so`, calls `create_model`, and then `prepare_input`, `predict` and `read_result` with
`std::any`. Everything else is in a namespace of the version, so that two versions can be loaded side by side. Plain C
functions beside them serve programs that are not CMSSW. Source of the interface: cms-hls4ml/hls4mlEmulatorExtras.
"""

from __future__ import annotations

from pathlib import Path

from weft import atomic
from weft.adder_graph import AdderGraph
from weft.firmware.export.cpp import compute_function
from weft.firmware.rtl import Project

_HEADER = """\
// The interface that CMSSW's hls4mlEmulatorExtras loads models by. Its own header goes before this one where
// EMULATOR_EXTRAS is given to make; the virtual functions and their order are the same.
#ifndef HLS4ML_EMULATOR_H_
#define HLS4ML_EMULATOR_H_
#include <any>

namespace hls4mlEmulator {
class Model {
public:
    virtual void prepare_input(std::any input) = 0;
    virtual void predict() = 0;
    virtual void read_result(std::any result) = 0;
    virtual ~Model() = default;
};
}  // namespace hls4mlEmulator
#endif
"""

_SOURCE = """\
// Emulator of {name}, version {version}: {n_in} inputs, {n_out} outputs, bit for bit those of the firmware.
// prepare_input takes std::any of const double* or double* ({n_in} values, on no grid: bits below the input port's
// grid are dropped and values beyond its range wrap, as in the firmware); read_result takes std::any of double*
// ({n_out} values, exact). Build: make, or make EMULATOR_EXTRAS=/path/to/hls4mlEmulatorExtras
#include <any>
#include <cmath>
#include <stdexcept>
#include "emulator.h"

namespace {space} {{
{compute}
static const int N_IN = {n_in}, N_OUT = {n_out};
static const int K[] = {{{k}}}, I[] = {{{i}}}, F[] = {{{f}}}, OUT_F[] = {{{out_f}}};

static i64 to_code(double x, int j) {{
    const int width = K[j] + I[j] + F[j];
    if (width <= 0) return 0;
    if (!std::isfinite(x)) throw std::invalid_argument("{space}: an input is not finite");
    const double rest = std::fmod(x, std::ldexp(1.0, K[j] + I[j]));
    return wrap((i64)std::floor(std::ldexp(rest, F[j])), K[j], width);
}}

static void run(const double* x, double* y) {{
    i64 in[N_IN > 0 ? N_IN : 1], out[N_OUT];
    for (int j = 0; j < N_IN; ++j) in[j] = to_code(x[j], j);
    compute(in, out);
    for (int j = 0; j < N_OUT; ++j) y[j] = std::ldexp((double)out[j], -OUT_F[j]);
}}

class Emulator : public hls4mlEmulator::Model {{
    double input_[N_IN > 0 ? N_IN : 1], result_[N_OUT];

public:
    void prepare_input(std::any input) override {{
        const double* const* given = std::any_cast<const double*>(&input);
        const double* x = given ? *given : std::any_cast<double*>(input);
        for (int j = 0; j < N_IN; ++j) input_[j] = x[j];
    }}
    void predict() override {{ run(input_, result_); }}
    void read_result(std::any result) override {{
        double* y = std::any_cast<double*>(result);
        for (int j = 0; j < N_OUT; ++j) y[j] = result_[j];
    }}
}};
}}  // namespace {space}

extern "C" hls4mlEmulator::Model* create_model() {{ return new {space}::Emulator; }}
extern "C" void destroy_model(hls4mlEmulator::Model* model) {{ delete model; }}

// For programs that are not CMSSW: n rows of inputs, n rows of outputs, through the same class. Returns 0, or 1 where
// an input is not finite.
extern "C" int {space}_predict(const double* x, double* y, long long n) {{
    try {{
        hls4mlEmulator::Model* model = create_model();
        for (long long row = 0; row < n; ++row) {{
            model->prepare_input(x + row * {space}::N_IN);
            model->predict();
            model->read_result(y + row * {space}::N_OUT);
        }}
        destroy_model(model);
    }} catch (const std::invalid_argument&) {{
        return 1;
    }}
    return 0;
}}
"""

_MAKEFILE = """\
# Builds {space}.so; with EMULATOR_EXTRAS the header of that checkout is used instead of the one beside this file.
CXX ?= g++
CXXFLAGS ?= -O2
EXTRAS = $(if $(EMULATOR_EXTRAS),-I$(EMULATOR_EXTRAS)/include/hls4ml,)

{space}.so: {space}/{space}.cpp
\t$(CXX) $(CXXFLAGS) -std=c++17 -fPIC -shared $(EXTRAS) -Iinclude $< -o $@.partial
\tmv $@.partial $@

clean:
\trm -f {space}.so
.PHONY: clean
"""


def write(project: Project, graph: AdderGraph, place: Path, name: str, version: str) -> None:
    """Write `emulator/` of a bundle."""
    space = f"{name}_{version}"

    def row(values: list[int]) -> str:
        return ", ".join(map(str, values)) or "0"

    k, i, f = (row(part) for part in project.input_kif.tolist())
    source = _SOURCE.format(
        name=name,
        version=version,
        space=space,
        compute=compute_function(graph),
        n_in=project.input_kif.shape[1],
        n_out=project.output_kif.shape[1],
        k=k,
        i=i,
        f=f,
        out_f=row(project.output_kif[2].tolist()),
    )
    atomic.write_text(place / "emulator" / space / f"{space}.cpp", source)
    atomic.write_text(place / "emulator" / "include" / "emulator.h", _HEADER)
    atomic.write_text(place / "emulator" / "Makefile", _MAKEFILE.format(space=space))
