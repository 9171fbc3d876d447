/** Results of a swarm, by agent. */
import type { Causes } from '../causes.js'

/** What each agent did, and how close together they started. */
export interface SwarmReport {
  /** Name of the swarm. */
  name: string
  /** Whether an agent was lost, so that there were fewer connections than planned or they came from other agents. */
  degraded: boolean
  /** Results by agent. Agents that record a server are left out. */
  agents: AgentReport[]
  /** Milliseconds from the first agent's start to the last one's, in the worst pulse. Null before the first pulse. */
  spread: number | null
  /** Maximum error of a start time in ms, because clocks are compared over a network. Null before the first pulse. */
  error: number | null
}

/** Results of one agent over all pulses. */
export interface AgentReport {
  /** Name of the agent. */
  name: string
  /** Number of connections that it opened. */
  connected: number
  /** Connects that failed, by errno. `EAGENTLOST`: the agent was lost before it reported their result. */
  failed: Causes
  /** Connections that were lost while they were held, by cause. `EAGENTLOST`: the agent that held them was lost. */
  lost: Causes
  /** Active connections that did not receive their payload back, by cause. */
  unanswered: Causes
  /** Why the agent was lost, or null. */
  gone: string | null
}
