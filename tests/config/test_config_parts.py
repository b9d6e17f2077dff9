"""Parts and boards by name."""

import pytest

from weft.config.parts import BOARDS, PARTS, find_part, part_name
from weft.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "device", "family"),
    [
        ("xcvu13p-flga2577-2-e", "xcvu13p", "xcup"),
        ("XCVU9P", "xcvu9p", "xcup"),
        ("xcu250-figd2104-2L-e", "xcu250", "xcup"),
        ("xcku040", "xcku040", "xcu"),
        ("ZCU216", "xczu49dr", "xcup"),
        ("pynq-z2", "xc7z020", "xc7"),
        ("xc7a100tcsg324-1", "xc7a100t", "xc7"),
        ("LFE5U-85F-6BG381C", "lfe5u-85f", "ecp5"),
        ("ice40up5k", "ice40up5k", "ice40"),
    ],
)
def test_a_part_is_found_by_its_name_or_its_board(name, device, family):
    part = find_part(name)
    assert (part.device, part.family) == (device, family)


@pytest.mark.parametrize("name", ["xcu500zzz", "xcvu9pfoo", "xcvu13pp-flga2577-2-e", "xck26c", "ice40up5k0"])
def test_a_device_with_more_behind_it_than_a_package_is_unknown(name):
    with pytest.raises(ConfigError, match=f"unknown part '{name}'"):
        find_part(name)


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_stands_for_a_known_part(board):
    assert part_name(board) == BOARDS[board] != board


@pytest.mark.parametrize("device", PARTS)
def test_the_regions_of_a_part_hold_all_of_it(device):
    part = PARTS[device]
    assert part.slr * part.per_slr["lut"] == part.lut
    assert min(part.lut, part.ff) > 0


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"lut": 432_000, "ff": 864_000, "dsp": 3_072, "bram_18k": 1_344, "uram": 320}, {}),
        ({"lut": 1_728_001}, {"lut": "does not fit: 1,728,001 LUT of 1,728,000"}),
        ({"lut": 500_000}, {"lut": "spans super logic regions: 500,000 LUT of 432,000 in one"}),
        ({"bram_18k": 6_000, "uram": 321}, {"bram_18k": "does not fit: 6,000 BRAM of 18 kbit of 5,376",
                                            "uram": "spans super logic regions: 321 URAM of 320 in one"}),
        ({"lut": None, "carry": 1e9, "fmax_mhz": 5e9}, {}),
    ],
)  # fmt: skip
def test_a_part_says_what_is_too_large_for_it_or_for_one_of_its_regions(used, said):
    assert find_part("xcvu13p").strain(used) == said


def test_a_part_in_one_piece_has_no_regions_to_span():
    part = find_part("xczu9eg")
    assert part.strain({"lut": part.lut, "uram": 0}) == {}
    assert part.strain({"uram": 1}) == {"uram": "does not fit: 1 URAM of 0"}
