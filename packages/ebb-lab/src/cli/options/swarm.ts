/** The options that have agents make the pulses: the same in `ebb pulse` and `ebb bench`. */
import type { Command } from 'commander'
import type { PulseOptions } from '../../pulse/pulse.js'
import { Agent } from '../../pulse/swarm/agent.js'
import { AllowList } from '../../pulse/swarm/allow.js'
import type { Bus } from '../../pulse/swarm/bus.js'
import { Coordinator, type SwarmEvent } from '../../pulse/swarm/coordinator.js'
import { LocalBus } from '../../pulse/swarm/local-bus.js'
import { natsBus } from '../../pulse/swarm/nats/nats.js'
import { clean } from '../../units/text.js'
import type { Terminal } from '../output/terminal.js'
import { type NatsFlags, natsOf, natsOptions } from './nats.js'
import { arg } from './plan.js'
import { parsePositive, ValueError } from './values.js'

export interface SwarmFlags extends NatsFlags {
  swarm?: string
  agents?: number
  strict?: boolean
}

export function swarmOptions(command: Command): Command {
  command
    .option('--swarm <name>', 'agents make the connections: ebb agent (without --nats: this process)')
    .option('--agents <n>', 'wait for so many agents (default: those that are there)', arg(parsePositive))
    .option('--strict', 'stop when an agent is lost (default: go on, and end with 4)')
  return natsOptions(command)
}

/** A swarm that is ours for a while. */
export interface OpenSwarm {
  coordinator: Coordinator
  /** `connect` without what an agent in this process has taken over. */
  connect: PulseOptions
  close(): Promise<void>
}

/** Null where no swarm is asked for. @throws ValueError, NatsError, SwarmError; the signal's reason */
export async function openSwarm(
  flags: SwarmFlags,
  connect: PulseOptions,
  terminal: Terminal,
  signal: AbortSignal
): Promise<OpenSwarm | null> {
  const { swarm, agents, strict = false } = flags
  if (swarm === undefined) {
    const without = (['nats', 'agents', 'strict'] as const).find((name) => flags[name] !== undefined)
    if (without !== undefined) throw new ValueError(`--${without} is for a swarm: add --swarm NAME`)
    return null
  }
  const nats = natsOf(flags)
  const bus = nats === null ? new LocalBus() : await natsBus(nats)
  try {
    const here = nats === null ? await agentHere(bus, swarm, connect) : undefined
    const { sources, procs, ...rest } = connect
    const coordinator = await Coordinator.gather({
      bus,
      swarm,
      strict,
      signal,
      ...(agents !== undefined && { agents }),
      onEvent: teller(terminal)
    })
    terminal.line(`Swarm ${swarm} (${bus.name}): ${clean(listed(coordinator.agents))}`)
    return {
      coordinator,
      connect: nats === null ? rest : connect,
      async close() {
        await coordinator.end()
        await here?.leave()
        await bus.close()
      }
    }
  } catch (error) {
    await bus.close()
    throw error
  }
}

/** Whoever runs this has named the target: there is nothing to protect them from. */
function agentHere(bus: Bus, swarm: string, { sources, procs }: PulseOptions): Promise<Agent> {
  return Agent.start({
    bus,
    swarm,
    allow: new AllowList(['0.0.0.0/0', '::/0']),
    ...(sources !== undefined && { sources }),
    ...(procs !== undefined && { procs })
  })
}

function teller(terminal: Terminal): (event: SwarmEvent) => void {
  const known = new Set<string>()
  return (event) => {
    switch (event.event) {
      case 'joined':
        if (known.has(event.agent)) terminal.line(`Agent ${clean(event.agent)} is back`)
        known.add(event.agent)
        break
      case 'lost':
        terminal.line(`Agent ${clean(event.agent)} is lost: ${clean(event.why)}`)
        break
      case 'refused':
        terminal.line(`Agent ${clean(event.agent)} is not used: ${clean(event.why)}`)
        break
      case 'dropped':
        terminal.line(`Dropped ${clean(event.reason)}`)
        break
      case 'away':
        terminal.line('NATS is away')
        break
      case 'back':
        terminal.line('NATS is back')
    }
  }
}

const LISTED = 8

/** `3 agents: a, b, c; d records port 3033` */
function listed(agents: readonly { name: string; records: number | null }[]): string {
  const names = agents.filter(({ records }) => records === null).map(({ name }) => name)
  const more = names.length > LISTED ? [`and ${names.length - LISTED} more`] : []
  const pulsing = `${names.length} agent${names.length === 1 ? '' : 's'}`
  const recording = agents.filter(({ records }) => records !== null)
  return [
    names.length === 0 ? pulsing : `${pulsing}: ${[...names.slice(0, LISTED), ...more].join(', ')}`,
    ...recording.map(({ name, records }) => `${name} records port ${records}`)
  ].join('; ')
}
