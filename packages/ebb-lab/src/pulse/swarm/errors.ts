/** Errors of swarms. */
import { LabError } from '../../units/errors.js'

/** A swarm cannot be used: it has no agents, another coordinator holds them, or they cannot do what is asked. */
export class SwarmError extends LabError {
  override readonly name = 'SwarmError'
  declare readonly code: 'ERR_SWARM'

  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_SWARM', undefined, options?.cause)
  }
}

/** Another process has stored a value since this one did. */
export class RevisionError extends SwarmError {
  constructor(store: string) {
    super(`another process has taken the run over: it has written to the ${store}`)
  }
}

/** An agent cannot carry out an order. The coordinator receives the message as the reason. */
export class OrderError extends LabError {
  override readonly name = 'OrderError'

  constructor(message: string) {
    super(message, 'ERR_EBB_ORDER')
  }
}

/** Cause of the connections that an agent held, or was connecting, when it was lost. */
export const AGENT_LOST = 'EAGENTLOST'
