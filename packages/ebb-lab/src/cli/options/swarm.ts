/** The options of `ebb pulse` and `ebb bench` that let the agents of a swarm make the connections. */
import type { Command } from 'commander'
import type { PulseEvent, PulseOptions, PulseReport } from '../../pulse/pulse.js'
import { Agent } from '../../pulse/swarm/agent.js'
import { AllowList } from '../../pulse/swarm/allow.js'
import type { Bus } from '../../pulse/swarm/bus.js'
import { Coordinator, type SwarmEvent } from '../../pulse/swarm/coordinator.js'
import { SwarmError } from '../../pulse/swarm/errors.js'
import { LocalBus } from '../../pulse/swarm/local-bus.js'
import { natsBus, natsRunStore } from '../../pulse/swarm/nats/nats.js'
import type { NatsOptions } from '../../pulse/swarm/nats/options.js'
import { DEFAULT_GRACE, type NewRun, resumeRun } from '../../pulse/swarm/resumable.js'
import { checkRunId, leaseOf, newRunId } from '../../pulse/swarm/run-id.js'
import type { RunStore } from '../../pulse/swarm/run-store.js'
import { duration } from '../../units/format.js'
import { clean } from '../../units/text.js'
import { tellInterrupted } from '../output/failure.js'
import type { Terminal } from '../output/terminal.js'
import { givenNatsOption, type NatsFlags, natsOf, natsOptions } from './nats.js'
import { parsePositive, parseTime, ValueError } from './values.js'

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

/** Values of the options of runs that can be resumed. */
export interface ResumableFlags extends SwarmFlags {
  /** Milliseconds. */
  grace?: number
  resume?: string
}

/** Adds the options of runs that can be resumed to a command with {@link swarmOptions}. */
export function resumableOptions(command: Command): Command {
  return command
    .optionsGroup('Swarm:')
    .option(
      '--grace <time>',
      'how long agents go on with their part of the plan if this process or NATS dies; needs JetStream, 0 is off ' +
        '(default: 10m with JetStream)',
      parseTime
    )
    .option('--resume <run>', 'take over a run whose process has died, and print its result')
}

/** What a run that a swarm may serve needs. */
interface SwarmRun {
  /** Whether the command has {@link resumableOptions}. Default: false. */
  resumable?: boolean
  flags: ResumableFlags
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
  { flags, connect, terminal, signal, recording, resumable = false }: SwarmRun,
  run: (connect: PulseOptions, resumable?: NewRun) => Promise<T>
): Promise<T | null> {
  let swarm: OpenSwarm | null = null
  try {
    swarm = await openSwarm(flags, connect, terminal, signal, resumable)
    return swarm === null
      ? await run(connect)
      : await run({ ...swarm.connect, swarm: swarm.coordinator }, swarm.resumable)
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
  /** Where to store the run, if it can be resumed. */
  resumable: NewRun | undefined
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
  flags: ResumableFlags,
  connect: PulseOptions,
  terminal: Terminal,
  signal: AbortSignal,
  isResumable: boolean
): Promise<OpenSwarm | null> {
  const { swarm, agents, strict = false } = flags
  if (swarm === undefined) {
    const own = (['agents', 'strict', 'grace', 'resume'] as const).find((name) => flags[name] !== undefined)
    const without = own === undefined ? givenNatsOption(flags) : `--${own}`
    if (without !== undefined) throw new ValueError(`${without} is for a swarm: add --swarm NAME`)
    return null
  }
  const nats = natsOf(flags)
  if (!isResumable && flags.grace !== undefined) {
    throw new ValueError('--grace is for pulses: leave it out with --shape, --ramp and --churn')
  }
  if (nats === null && flags.grace !== undefined) {
    throw new ValueError('--grace is for agents that other processes run: add --nats nats://HOST:PORT, or set NATS_URL')
  }
  const bus = nats === null ? new LocalBus() : await natsBus(nats)
  let resumable: NewRun | undefined
  try {
    if (nats !== null && isResumable) resumable = await newRun(nats, swarm, flags, terminal)
    const here = nats === null ? await agentHere(bus, swarm, connect) : undefined
    const { sources, procs, ...rest } = connect
    const coordinator = await Coordinator.gather({
      bus,
      swarm,
      strict,
      signal,
      ...(agents !== undefined && { agents }),
      ...(resumable !== undefined && { resumable: { lease: leaseOf(resumable.id), grace: resumable.grace } }),
      onEvent: eventPrinter(terminal)
    })
    terminal.line(`Swarm ${swarm} (${bus.name}): ${clean(listed(coordinator.agents))}`)
    return {
      coordinator,
      connect: nats === null ? rest : connect,
      resumable,
      async close() {
        await coordinator.end()
        await here?.leave()
        await Promise.all([bus.close(), resumable?.store.close()])
      }
    }
  } catch (error) {
    await Promise.all([bus.close(), resumable?.store.close()])
    throw error
  }
}

/**
 * Returns where to store a new run, or undefined if it cannot be resumed.
 *
 * @throws ValueError if `--grace` is given and NATS has no JetStream; SwarmError if it is given and JetStream cannot be
 *   used
 */
async function newRun(
  nats: NatsOptions,
  swarm: string,
  { grace }: ResumableFlags,
  terminal: Terminal
): Promise<NewRun | undefined> {
  if (grace === 0) return undefined
  let store: RunStore | undefined
  try {
    store = await natsRunStore(nats, swarm)
  } catch (error) {
    if (grace !== undefined || !(error instanceof SwarmError)) throw error
    terminal.line(`This run cannot be resumed: ${clean(error.message)}`)
    return undefined
  }
  if (store === undefined) {
    if (grace === undefined) return undefined
    throw new ValueError('--grace needs JetStream, where the run is stored: start nats-server with -js')
  }
  const id = newRunId()
  const wait = grace ?? DEFAULT_GRACE
  return {
    store,
    id,
    grace: wait,
    onStored: () =>
      terminal.line(
        `Run ${id}: if this process dies, agents go on for ${duration(wait)}; ` +
          `collect their results with ebb pulse --resume ${id} --swarm ${swarm}`
      ),
    onUnstored: unstoredPrinter(terminal)
  }
}

/** Takes over the run that `--resume` names, and returns its report. Returns null if Ctrl-C has interrupted that. */
export async function resume(
  { resume: id, swarm, agents, strict, ...flags }: ResumableFlags & { resume: string },
  terminal: Terminal,
  signal: AbortSignal,
  onEvent: (event: PulseEvent) => void
): Promise<PulseReport | null> {
  checkRunId(id)
  if (swarm === undefined) throw new ValueError('--resume needs the name of the swarm: add --swarm NAME')
  if (agents !== undefined) throw new ValueError('--resume takes the agents of the run: leave out --agents')
  if (flags.grace !== undefined) throw new ValueError('--resume goes on with the --grace of the run: leave it out')
  const nats = natsOf(flags)
  if (nats === null) throw new ValueError('no NATS server is given: add --nats nats://HOST:PORT, or set NATS_URL')
  const store = await natsRunStore(nats, swarm)
  if (store === undefined) throw new ValueError('this NATS server has no JetStream, so no run is stored there')
  let bus: Bus | undefined
  try {
    bus = await natsBus(nats)
    return await resumeRun({
      store,
      id,
      swarm: { bus, swarm, signal, ...(strict !== undefined && { strict }), onEvent: eventPrinter(terminal) },
      signal,
      onEvent,
      onResumed: ({ who, began, report: { pulses } }, coordinator) => {
        const since = new Date(began).toISOString()
        terminal.line(`Run of ${clean(who)}, begun at ${since}: ${pulses} pulse${pulses === 1 ? '' : 's'} are stored`)
        terminal.line(`Swarm ${swarm} (${bus?.name}): ${clean(listed(coordinator.agents))}`)
      },
      onUnstored: unstoredPrinter(terminal)
    })
  } catch (error) {
    tellInterrupted(error, signal, terminal)
    return null
  } finally {
    await Promise.all([bus?.close(), store.close()])
    terminal.end()
  }
}

/** Returns a function that prints why a run is not stored. */
function unstoredPrinter(terminal: Terminal): (why: string) => void {
  return (why) => terminal.line(`The last pulse is not stored, and would be lost with this process: ${clean(why)}`)
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
        break
      case 'alone':
        terminal.line('Agents have gone on alone: collecting their results')
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
