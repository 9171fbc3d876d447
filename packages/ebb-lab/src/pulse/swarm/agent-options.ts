/** Options and events of an agent. */
import type { Causes } from '../causes.js'
import type { ClientOptions } from '../client-options.js'
import type { Crowd } from '../crowd.js'
import type { Opened } from '../opened.js'
import type { AllowList } from './allow.js'
import type { Bus } from './bus.js'
import type { Capacity } from './messages.js'

/** What an agent offers to a swarm. */
export interface AgentOptions {
  /** The bus that the swarm is on. The caller closes it. */
  bus: Bus
  /** Name of the swarm: 1 to 64 letters, digits, `-` and `_`. */
  swarm: string
  /** Name for people, 1 to 100 characters. Default: the machine's host name. */
  name?: string
  /** Servers that the agent may connect to. Default: loopback only. */
  allow?: AllowList
  /** IP addresses of this machine to connect from, in turn. Default: the kernel chooses. */
  sources?: readonly string[]
  /** Maximum number of processes that hold connections. Default: one per CPU. */
  procs?: number
  /** Maximum number of connections. Default: as many as descriptors and ports allow. */
  most?: number
  /**
   * Records the server on this machine. Such an agent makes no connections, because it would take CPU time from the
   * server. Default: records nothing.
   */
  recorder?: SideRecorder
  /** Makes the crowds; tests use crowds without sockets. Default: crowds with real connections. */
  crowdOf?: (options: ClientOptions, processes: number) => Promise<Crowd>
  /** Milliseconds after which a silent coordinator loses the agent. Default: 3000. */
  lease?: number
  /** Called at each step. */
  onEvent?: (event: AgentEvent) => void
}

/** Records the server beside an agent. */
export interface SideRecorder {
  /** Port of the server. */
  readonly port: number
  /** Whether each recording starts a server of its own, so that a control run is possible. */
  readonly startsServer: boolean
  /**
   * Begins a recording.
   *
   * @throws Error whose message tells the coordinator why there is no recording
   */
  start(options: SideRecordingOptions): Promise<SideRecording>
}

/** What a recording is for. */
export interface SideRecordingOptions {
  /** Number of connections that the server is to hold. */
  connections: number
  /** Cancels the start. */
  signal: AbortSignal
}

/** A recording in progress. */
export interface SideRecording {
  /** Header of the recording. */
  readonly header: unknown
  /** Returns the time of the recording in ms. */
  now(): number
  /**
   * Returns the lines from number `first` on, as many as fit into `bytes` bytes. Lines before `first` are forgotten.
   * `ended`: no more lines follow.
   */
  take(first: number, bytes: number): { lines: unknown[]; ended: boolean }
  /** Ends the recording and a server that was started for it. Resolves when both have ended. May be called again. */
  stop(): Promise<void>
}

/** A step of an agent. */
export type AgentEvent =
  /** The agent can be discovered. */
  | { event: 'offering'; id: string; capacity: Capacity }
  /** A coordinator holds the agent. */
  | { event: 'leased'; who: string }
  /** The agent has closed the connections of a pulse. */
  | { event: 'pulse'; pulse: AgentPulse }
  /** The agent records the server on `port`. `started`: it has started the server for this recording. */
  | { event: 'recording'; port: number; started: boolean }
  /** The agent has ended the recording. `stopped`: it has also ended the server. */
  | { event: 'recorded'; port: number; stopped: boolean }
  /** The agent goes on with its part of the plan without orders of `who`, for `grace` ms at most. */
  | { event: 'alone'; who: string; grace: number }
  /** The coordinator `who` has resumed the run with which the agent goes on alone. */
  | { event: 'resumed'; who: string }
  /** No coordinator holds the agent any longer. `closed`: number of connections that were open then. */
  | { event: 'freed'; why: string; closed: number }
  /** The agent has refused an order. */
  | { event: 'refused'; reason: string }
  /** A message was dropped, because it was not valid or not from the coordinator that holds the agent. */
  | { event: 'dropped'; reason: string }
  /** The server that carries the messages is not reachable. */
  | { event: 'away' }
  /** The server that carries the messages is reachable again. */
  | { event: 'back' }

/** What an agent did in one pulse. */
export interface AgentPulse {
  /** Index of the pulse, counted from 0 over the coordinator's run. */
  index: number
  /** The server, `HOST:PORT`. */
  target: string
  /** Number of connections of this agent. */
  n: number
  /** Number of connections of all agents. */
  of: number
  /** Result of opening them. */
  opened: Opened
  /** Connections that the server closed first, by cause. */
  lost: Causes
  /** Milliseconds from the last connect until they were closed. */
  heldMs: number
}
