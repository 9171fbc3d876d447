/** The laboratory's public functions, classes and types, for test suites and programs. */
export { type BoxOptions, type BoxProgress, type BoxResult, box } from './experiment/box/box.js'
export { BoxFileError, type BoxPlan, readBoxFile, type ServerPlan, type Variant } from './experiment/box/file.js'
export {
  BENCH_PLAN,
  type Experiment,
  type ExperimentEvent,
  type ExperimentOptions,
  experiment,
  QUICK_PLAN,
  type Target
} from './experiment/experiment.js'
export { type Running, start } from './process/target.js'
export type { Causes } from './pulse/causes.js'
export type { Quantiles } from './pulse/histogram.js'
export type { Opened } from './pulse/opened.js'
export type { Plan, Pulse } from './pulse/plan.js'
export { type PulseEvent, type PulseOptions, type PulseReport, pulse, type Server, succeeded } from './pulse/pulse.js'
export { Agent } from './pulse/swarm/agent.js'
export type { AgentEvent, AgentOptions, AgentPulse } from './pulse/swarm/agent-options.js'
export { AllowList } from './pulse/swarm/allow.js'
export type { Bus } from './pulse/swarm/bus.js'
export { Coordinator, type SwarmEvent, type SwarmOptions } from './pulse/swarm/coordinator.js'
export { SwarmError } from './pulse/swarm/errors.js'
export { LocalBus } from './pulse/swarm/local-bus.js'
export { natsBus } from './pulse/swarm/nats/nats.js'
export { NatsError, type NatsOptions } from './pulse/swarm/nats/options.js'
export type { AgentReport, SwarmReport } from './pulse/swarm/report.js'
export { parseBox, readBox } from './record/box/read.js'
export type { BoxRecording } from './record/box/recording.js'
export { parseRecording, readRecording } from './record/read.js'
export { type RecordOptions, record } from './record/record.js'
export { Recorder, type RecorderOptions } from './record/recorder.js'
export type { Header, Line, Recording, RecordingEvent, Sample } from './record/recording.js'
export { type BoxReport, type BoxReportOptions, reportBoxes } from './report/box/report.js'
export { type BoxLimits, type BoxVerdict, brokenBoxes, judgeBox, type ServerVerdict } from './report/box/verdict.js'
export { broken, type Limits } from './report/limits.js'
export type { VerdictNote } from './report/notes.js'
export { type Report, type ReportOptions, report } from './report/report.js'
export { markdownTable, table } from './report/table.js'
export { judge, type Verdict, type VerdictJson, verdictToJson } from './report/verdict.js'
export { type ServeEvent, serveLine } from './serve/log.js'
export type { Served, ServeOptions } from './serve/options.js'
export { serve } from './serve/serve.js'
export { type SuperviseOptions, Supervisor } from './serve/supervisor.js'
export { LabError, RecordError, ReportError } from './units/errors.js'
