/** `ebb/metrics`: figures of servers, governor and runtime for Prometheus, `prom-client` and OpenTelemetry. */
export type { HandoverEndMessage, HandoverErrorMessage, HandoverMessage } from './handover/events.js'
export type { ReleaseMessage } from './memory/release.js'
export { type Metrics, type MetricsOptions, metrics } from './metrics/metrics.js'
export type { Histogram, HistogramOptions, InstrumentOptions, Meter, Observer } from './metrics/open-telemetry.js'
export type { PromRegistry } from './metrics/prom-client.js'
export type { AnyServer, HubOfServer, MeteredServers } from './metrics/servers.js'
export type { ParkMessage, WakeMessage } from './park/channels.js'
export type { WebSocketServerLike } from './websocket/ws/park-web-sockets.js'
