/** Subjects of messages. Each swarm has its own. On NATS, they are NATS subjects. */
import { invalidArgument } from 'ebb/sys'

/** A part of a subject: without dots, wildcards and blanks. */
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/

/**
 * Checks the name of a swarm and returns it.
 *
 * @throws TypeError for a name that cannot be a part of a subject
 */
export function checkSwarmName(name: string): string {
  if (TOKEN.test(name)) return name
  throw invalidArgument(
    "a swarm's name is 1 to 64 letters, digits, - and _, because it is part of NATS subjects, " +
      `not ${JSON.stringify(name)}`
  )
}

/** Returns the name of the agents of a swarm in NATS's service protocol: `nats micro info ebb-NAME`. */
export function serviceOf(swarm: string): string {
  return `ebb-${swarm}`
}

/** Returns the subject of orders to one agent. */
export function agentSubject(swarm: string, id: string): string {
  return `ebb.${swarm}.agent.${id}`
}

/** Returns the subject of messages to a coordinator. */
export function coordinatorSubject(swarm: string, id: string): string {
  return `ebb.${swarm}.coordinator.${id}`
}

/** Returns the subject of heartbeats to all agents of a swarm. */
export function beatSubject(swarm: string): string {
  return `ebb.${swarm}.all`
}
