/** The laboratory, for a test suite of one's own. */
export {
  BENCH_PLAN,
  type Experiment,
  type ExperimentEvent,
  type ExperimentOptions,
  experiment,
  QUICK_PLAN,
  type Target
} from './experiment/experiment.js'
export { type Served, type ServeEvent, type ServeOptions, serve, serveLine } from './experiment/serve.js'
export type { Running } from './experiment/target.js'
export type { Causes, Opened } from './pulse/client.js'
export type { Quantiles } from './pulse/histogram.js'
export type { Plan, Pulse } from './pulse/plan.js'
export {
  type PulseEvent,
  type PulseOptions,
  type PulseReport,
  pulse,
  type Server,
  succeeded
} from './pulse/pulse.js'
export { RecordError } from './record/errors.js'
export { parseRecording, readRecording } from './record/read.js'
export { type RecordOptions, record } from './record/record.js'
export { Recorder, type RecorderOptions } from './record/recorder.js'
export type { Header, Line, Recording, RecordingEvent, Sample } from './record/recording.js'
export { ReportError } from './report/error.js'
export { type Report, type ReportOptions, report } from './report/report.js'
export { markdownTable, table } from './report/table.js'
export { broken, judge, type Limits, type Verdict, type VerdictJson, verdictToJson } from './report/verdict.js'
