/** Where messages go: subjects of NATS, of which a swarm has its own. */
import { invalidArgument } from 'ebb/sys'

/** A part of a subject: no dot, no wildcard, no blank. */
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/

/** @throws TypeError for a name that cannot be a part of a subject */
export function checkSwarmName(name: string): string {
  if (TOKEN.test(name)) return name
  throw invalidArgument(
    `a swarm's name is 1 to 64 letters, digits, - and _, because it is part of NATS subjects, not ${JSON.stringify(name)}`
  )
}

/** What NATS's service protocol calls the agents of a swarm: `nats micro info ebb-NAME`. */
export function serviceOf(swarm: string): string {
  return `ebb-${swarm}`
}

/** Orders to one agent. */
export function agentSubject(swarm: string, id: string): string {
  return `ebb.${swarm}.agent.${id}`
}

/** What agents tell a co-ordinator. */
export function coordinatorSubject(swarm: string, id: string): string {
  return `ebb.${swarm}.coordinator.${id}`
}

/** What a co-ordinator tells all its agents at once. */
export function everyone(swarm: string): string {
  return `ebb.${swarm}.all`
}
