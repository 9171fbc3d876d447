/**
 * `ebb-lab/testing`: the parts of the laboratory that its own tests and benchmarks use.
 *
 * This entry is not covered by semantic versioning. Programs use `ebb-lab`.
 */
import { fileURLToPath } from 'node:url'

export { launch } from './process/launch.js'
export { MemoryGroup } from './process/memory-group.js'
export * as reaper from './process/reaper.js'
export { type Running, start } from './process/target.js'
export type { Causes } from './pulse/causes.js'
export { Client } from './pulse/client.js'
export type { ClientOptions } from './pulse/client-options.js'
export { type Crowd, processesFor } from './pulse/crowd.js'
export { type DriveEvent, drive } from './pulse/drive.js'
export { LatencyHistogram } from './pulse/histogram.js'
export { Latencies } from './pulse/latencies.js'
export { emptyOpened, type Opened } from './pulse/opened.js'
export { crowdOf } from './pulse/own-crowd.js'
export { planSchema } from './pulse/plan.js'
export { clientOptions, type PulseEvent, type PulseReport, pulse, targetOf } from './pulse/pulse.js'
export { randomFrom } from './pulse/random.js'
export type { Shape } from './pulse/shapes.js'
export { Agent, checkAgent } from './pulse/swarm/agent.js'
export type { AgentEvent, AgentOptions } from './pulse/swarm/agent-options.js'
export { AllowList } from './pulse/swarm/allow.js'
export { capacityHere } from './pulse/swarm/capacity.js'
export { Coordinator } from './pulse/swarm/coordinator.js'
export { LocalBus } from './pulse/swarm/local-bus.js'
export { NatsBus } from './pulse/swarm/nats/bus.js'
export * as natsClient from './pulse/swarm/testing/nats-client.js'
export { emptyTraffic } from './pulse/traffic.js'
export { readRecording } from './record/read.js'
export type { Recording } from './record/recording.js'
export { type SyntheticOptions, sideBySide, synthetic } from './report/testing/synthetic.js'
export { ERROR_CODES } from './units/error-codes.js'

/** Path of the `ebb` command, which runs with `node`. */
export const CLI_PATH = fileURLToPath(new URL('../bin/ebb.js', import.meta.url))
