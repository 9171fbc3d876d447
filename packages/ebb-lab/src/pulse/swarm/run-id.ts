/**
 * The id of a resumable run. Whoever knows it can take the run over, so it is never stored: the bucket has the state
 * under a hash of the id, and the agents' secret is another hash of it.
 */
import { createHash } from 'node:crypto'
import { invalidArgument } from 'ebb/sys'
import { newToken } from './messages.js'

const RUN_ID = /^[0-9a-f]{32}$/

/** Returns a new id of 128 random bits. */
export function newRunId(): string {
  return newToken()
}

/**
 * Checks the id of a run and returns it.
 *
 * @throws TypeError for text that is no id
 */
export function checkRunId(run: string): string {
  if (RUN_ID.test(run)) return run
  throw invalidArgument(`a run has an id of 32 hexadecimal digits, which ebb pulse prints, not ${JSON.stringify(run)}`)
}

/** Returns the key of the run's state in the bucket. */
export function keyOf(run: string): string {
  return hash(`state ${run}`)
}

/** Returns the secret that proves to agents that an order is from the coordinator of the run. */
export function leaseOf(run: string): string {
  return hash(`lease ${run}`).slice(0, 32)
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
