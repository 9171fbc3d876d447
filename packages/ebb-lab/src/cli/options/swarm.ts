/** The options of `ebb pulse` and `ebb bench` that let the agents of a swarm make the connections. */
import type { Command } from 'commander'
import type { PulseOptions } from '../../pulse/pulse.js'
import { Agent } from '../../pulse/swarm/agent.js'
import { AllowList } from '../../pulse/swarm/allow.js'
import type { Bus } from '../../pulse/swarm/bus.js'
import { Coordinator, type SwarmEvent } from '../../pulse/swarm/coordinator.js'
import { LocalBus } from '../../pulse/swarm/local-bus.js'
import { natsBus } from '../../pulse/swarm/nats/nats.js'
import { clean } from '../../units/text.js'
import { tellInterrupted } from '../output/failure.js'
import type { Terminal } from '../output/terminal.js'
import { givenNatsOption, type NatsFlags, natsOf, natsOptions } from './nats.js'
import { parsePositive, ValueError } from './values.js'

/** Values of the swarm options. */
export interface SwarmFlags extends NatsFlags {
  swarm?: string
  agents?: number
  strict?: boolean
}

/** Adds the swarm options and the NATS options to a command. */
export function swarmOptions(command: Command): Command {
  command
    .optionsGroup('Swarm:')
    .option('--swarm <name>', 'let the agents of this swarm connect; without --nats, this process is the agent')
    .option('--agents <n>', 'number of agents to wait for (default: use those that answer)', parsePositive)
    .option('--strict', 'stop if an agent is lost (default: continue, and exit 4)')
  return natsOptions(command)
}

/** What a run that a swarm may serve needs. */
interface SwarmRun {
  flags: SwarmFlags
  /** The connection options that were given. */
  connect: PulseOptions
  terminal: Terminal
  signal: AbortSignal
  /** Returns the path of a recording that an interruption cuts off, if there is one. */
  recording?: () => string | undefined
}

/**
 * Calls `run` with the options for connecting, and with the agents of the swarm that the options name, if they name
 * one. Then frees the agents. Returns null if Ctrl-C has interrupted the run, which is printed.
 *
 * @throws the error of `run`, or as {@link openSwarm}
 */
export async function withSwarm<T>(
  { flags, connect, terminal, signal, recording }: SwarmRun,
  run: (connect: PulseOptions) => Promise<T>
): Promise<T | null> {
  let swarm: OpenSwarm | null = null
  try {
    swarm = await openSwarm(flags, connect, terminal, signal)
    return await run(swarm === null ? connect : { ...swarm.connect, swarm: swarm.coordinator })
  } catch (error) {
    tellInterrupted(error, signal, terminal, recording?.())
    return null
  } finally {
    await swarm?.close()
    terminal.end()
  }
}

/** A swarm whose agents this process has reserved. */
interface OpenSwarm {
  coordinator: Coordinator
  /** The connection options without those that an agent in this process has taken over. */
  connect: PulseOptions
  /** Frees the agents and leaves NATS. */
  close(): Promise<void>
}

/**
 * Reserves the agents of the swarm that the options name. Returns null if they name none.
 *
 * @throws ValueError if an option needs `--swarm`; NatsError if NATS cannot be used; SwarmError if the swarm has no
 *   agents or is in use; the signal's reason if it is aborted
 */
async function openSwarm(
  flags: SwarmFlags,
  connect: PulseOptions,
  terminal: Terminal,
  signal: AbortSignal
): Promise<OpenSwarm | null> {
  const { swarm, agents, strict = false } = flags
  if (swarm === undefined) {
    const own = (['agents', 'strict'] as const).find((name) => flags[name] !== undefined)
    const without = own === undefined ? givenNatsOption(flags) : `--${own}`
    if (without !== undefined) throw new ValueError(`${without} is for a swarm: add --swarm NAME`)
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
      onEvent: eventPrinter(terminal)
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

/** Starts an agent in this process. It may connect anywhere, because whoever runs this command has named the target. */
function agentHere(bus: Bus, swarm: string, { sources, procs }: PulseOptions): Promise<Agent> {
  return Agent.start({
    bus,
    swarm,
    allow: new AllowList(['0.0.0.0/0', '::/0']),
    ...(sources !== undefined && { sources }),
    ...(procs !== undefined && { procs })
  })
}

/** Returns a listener that prints what happens to the swarm. */
function eventPrinter(terminal: Terminal): (event: SwarmEvent) => void {
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

/** Agents that are listed by name. */
const MOST_LISTED = 8

/** Lists agents: `3 agents: a, b, c; d records port 3033`. */
function listed(agents: readonly { name: string; records: number | null }[]): string {
  const names = agents.filter(({ records }) => records === null).map(({ name }) => name)
  const more = names.length > MOST_LISTED ? [`and ${names.length - MOST_LISTED} more`] : []
  const pulsing = `${names.length} agent${names.length === 1 ? '' : 's'}`
  const recording = agents.filter(({ records }) => records !== null)
  return [
    names.length === 0 ? pulsing : `${pulsing}: ${[...names.slice(0, MOST_LISTED), ...more].join(', ')}`,
    ...recording.map(({ name, records }) => `${name} records port ${records}`)
  ].join('; ')
}
