"""Reports in the formats of several versions of the tools, with numbers of our own."""

from __future__ import annotations


def csynth_xml(version: str = "2023.2", dsp: str = "DSP", latency: str = "8", uram: str = "<URAM>0</URAM>") -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<profile>
<section name="General Information" level="0"><item name="Report"/></section>
<ReportVersion><Version>{version}</Version></ReportVersion>
<UserAssignments>
  <unit>ns</unit><ProductFamily>virtexuplus</ProductFamily><Part>xcvu13p-flga2577-2-e</Part>
  <TopModelName>model</TopModelName><TargetClockPeriod>5.00</TargetClockPeriod>
</UserAssignments>
<PerformanceEstimates>
  <PipelineType>yes</PipelineType>
  <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>4.000</EstimatedClockPeriod></SummaryOfTimingAnalysis>
  <SummaryOfOverallLatency>
    <unit>clock cycles</unit><Best-caseLatency>{latency}</Best-caseLatency>
    <Average-caseLatency>{latency}</Average-caseLatency><Worst-caseLatency>{latency}</Worst-caseLatency>
    <Interval-min>1</Interval-min><Interval-max>2</Interval-max>
  </SummaryOfOverallLatency>
</PerformanceEstimates>
<AreaEstimates>
  <Resources><BRAM_18K>4</BRAM_18K><{dsp}>66</{dsp}><FF>2428</FF><LUT>2532</LUT>{uram}</Resources>
  <AvailableResources><BRAM_18K>5376</BRAM_18K><{dsp}>12288</{dsp}></AvailableResources>
</AreaEstimates>
</profile>
"""


VITIS_RPT = """
================================================================
== Vitis HLS Report for 'model'
================================================================
* Date:           Tue Nov 11 10:00:00 2025

* Version:        2024.1 (Build 5069499 on May 21 2024)
* Project:        model_prj
* Target device:  xcvu13p-flga2577-2-e

================================================================
== Performance Estimates
================================================================
+ Timing: 
    * Summary: 
    +--------+---------+----------+------------+
    |  Clock |  Target | Estimated| Uncertainty|
    +--------+---------+----------+------------+
    |ap_clk  |  5.00 ns|  4.000 ns|     1.35 ns|
    +--------+---------+----------+------------+

+ Latency: 
    * Summary: 
    +---------+---------+-----------+-----------+-----+-----+---------+
    |  Latency (cycles) |   Latency (absolute)  |  Interval | Pipeline|
    |   min   |   max   |    min    |    max    | min | max |   Type  |
    +---------+---------+-----------+-----------+-----+-----+---------+
    |        7|        8|  35.000 ns|  40.000 ns|    1|    2|      yes|
    +---------+---------+-----------+-----------+-----+-----+---------+

    + Detail: 
        * Instance: 
        +------------+-----------+---------+---------+
        |  Instance  |   Module  |   min   |   max   |
        +------------+-----------+---------+---------+
        |grp_d0_fu_1 |d0         |        1|        1|
        +------------+-----------+---------+---------+

================================================================
== Utilization Estimates
================================================================
* Summary: 
+---------------------+---------+-------+---------+---------+-----+
|         Name        | BRAM_18K|  DSP  |    FF   |   LUT   | URAM|
+---------------------+---------+-------+---------+---------+-----+
|DSP                  |        -|      -|        -|        -|    -|
|Register             |        -|      -|      100|        -|    -|
+---------------------+---------+-------+---------+---------+-----+
|Total                |        4|     66|     2428|     2532|    0|
+---------------------+---------+-------+---------+---------+-----+
|Available            |     5376|  12288|  3456000|  1728000| 1280|
+---------------------+---------+-------+---------+---------+-----+
"""

VIVADO_HLS_RPT = """
================================================================
== Vivado HLS Report for 'model'
================================================================
* Date:           Mon May 11 10:00:00 2020

* Version:        2018.3 (Build 2405991 on Thu Dec 06 23:56:15 MST 2018)

+ Timing (ns): 
    * Summary: 
    +--------+-------+----------+------------+
    |  Clock | Target| Estimated| Uncertainty|
    +--------+-------+----------+------------+
    |ap_clk  |   5.00|     4.000|        0.62|
    +--------+-------+----------+------------+

+ Latency (clock cycles): 
    * Summary: 
    +-----+-----+-----+-----+----------+
    |  Latency  |  Interval | Pipeline |
    | min | max | min | max |   Type   |
    +-----+-----+-----+-----+----------+
    |    7|    8|    1|    2| function |
    +-----+-----+-----+-----+----------+

* Summary: 
+-----------------+---------+-------+---------+---------+
|       Name      | BRAM_18K| DSP48E|    FF   |   LUT   |
+-----------------+---------+-------+---------+---------+
|Total            |        4|     66|     2428|     2532|
+-----------------+---------+-------+---------+---------+
"""

_RULE = "+----------+----------+" + "-----+" * 7
COSIM_RPT = f"""
================================================================
== Cosimulation Report
================================================================
{_RULE}
|          |          |   Latency(Clock Cycles)   |  Interval(Clock Cycles)   | Total Execution Time |
+   RTL    +  Status  +---------------------------+---------------------------+   (Clock Cycles)     +
|          |          |   min  |   avg  |   max   |   min  |   avg  |   max   |                      |
{_RULE}
|      VHDL|        NA|      NA|      NA|       NA|      NA|      NA|       NA|                    NA|
|   Verilog|      Pass|       7|       8|        9|       1|       1|        2|                   108|
{_RULE}
"""


def utilization_rpt(state: str = "Synthesized", version: str = "2023.2", sites: str = "CLB", lut: int = 1526) -> str:
    return f"""Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
---------------------------------------------------------------
| Tool Version : Vivado v.{version} (lin64) Build 4029153 Fri Oct 13 20:13:54 MDT 2023
| Design       : model
| Device       : xcvu13p-flga2577-2-e
| Design State : {state}
---------------------------------------------------------------

1. {sites} Logic
------------

+----------------------------+------+-------+------------+-----------+-------+
|          Site Type         | Used | Fixed | Prohibited | Available | Util% |
+----------------------------+------+-------+------------+-----------+-------+
| {sites} LUTs*              | {lut} |     0 |          0 |   1728000 |  0.09 |
|   LUT as Logic             | 1478 |     0 |          0 |   1728000 |  0.09 |
| {sites} Registers          | 2428 |     0 |          0 |   3456000 |  0.07 |
+----------------------------+------+-------+------------+-----------+-------+

2. BLOCKRAM
-----------

+----------------+------+-------+------------+-----------+-------+
|    Site Type   | Used | Fixed | Prohibited | Available | Util% |
+----------------+------+-------+------------+-----------+-------+
| Block RAM Tile |  1.5 |     0 |          0 |      2688 |  0.06 |
|   RAMB18       |    1 |     0 |          0 |      5376 |  0.02 |
+----------------+------+-------+------------+-----------+-------+

3. ARITHMETIC
-------------

+----------------+------+-------+------------+-----------+-------+
|    Site Type   | Used | Fixed | Prohibited | Available | Util% |
+----------------+------+-------+------------+-----------+-------+
| DSPs           |   66 |     0 |          0 |     12288 |  0.54 |
+----------------+------+-------+------------+-----------+-------+
"""


TIMING_RPT = """Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
---------------------------------------------------------------
| Tool Version      : Vivado v.2023.2 (lin64) Build 4029153 Fri Oct 13 20:13:54 MDT 2023
| Design State      : Routed
---------------------------------------------------------------
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      1.000        0.000                      0                 2428        0.043        0.000

------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock   Waveform(ns)       Period(ns)      Frequency(MHz)
-----   ------------       ----------      --------------
ap_clk  {0.000 2.500}      5.000           200.000
"""
