/** `ebb agent`: lets this machine make connections for a swarm, or record the server on it. */
import { hostname } from 'node:os'
import { Command } from 'commander'
import { sideRecorder } from '../../experiment/side-recorder.js'
import { freePorts } from '../../process/ports.js'
import { total } from '../../pulse/causes.js'
import { Agent, checkAgent } from '../../pulse/swarm/agent.js'
import type { AgentEvent, SideRecorder } from '../../pulse/swarm/agent-options.js'
import { AllowList } from '../../pulse/swarm/allow.js'
import type { Bus } from '../../pulse/swarm/bus.js'
import { describeCapacity } from '../../pulse/swarm/capacity.js'
import type { Capacity } from '../../pulse/swarm/messages.js'
import { natsBus } from '../../pulse/swarm/nats/nats.js'
import { duration } from '../../units/format.js'
import { clean } from '../../units/text.js'
import { NATS_ENVIRONMENT, type NatsFlags, natsOf, natsOptions } from '../options/nats.js'
import { parsePort, parsePositive, shellCommand, ValueError } from '../options/values.js'
import { causes } from '../output/causes.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends NatsFlags {
  swarm: string
  name: string
  allow?: string[]
  source?: string[]
  procs?: number
  most?: number
  recordPort?: number
  recordCommand?: string
}

/** Returns the command `ebb agent`. */
export function agentCommand(): Command {
  const command = new Command('agent')
    .description('Offer this machine to a swarm: "ebb pulse --swarm" and "ebb bench --swarm" connect from all agents.')
    .requiredOption('--swarm <name>', 'name of the swarm: letters, digits, - and _')
    .option('--name <name>', 'name of this agent in tables', hostname())
    .option(
      '--allow <target...>',
      'targets that it may connect to: HOST:PORT, or a network such as 10.0.0.0/8 (default: loopback only)'
    )
    .option('--source <address...>', 'local addresses to connect from')
    .option('--procs <n>', 'maximum number of client processes (default: one per CPU)', parsePositive)
    .option(
      '--most <n>',
      'maximum number of connections (default: as many as descriptors and ports allow)',
      parsePositive
    )
    .option('--record-port <port>', 'make no connections; record the server that listens on this port', parsePort)
    .option(
      '--record-command <command>',
      'make no connections; start the server with this shell command for each run, record it, and end it after the ' +
        'run; {port} becomes --record-port (default: a free port)'
    )
  return natsOptions(command)
    .addHelpText(
      'after',
      `
${NATS_ENVIRONMENT}

Examples:
  ebb agent --nats nats://10.0.0.1:4222 --swarm lab --allow 10.0.0.5:3033
  ebb agent --nats nats://10.0.0.1:4222 --swarm lab --record-port 3033
  ebb agent --nats nats://10.0.0.1:4222 --swarm lab --record-port 3033 \\
    --record-command 'node server.js {port}'

If an agent hears nothing from its coordinator for 3 s, it closes its
connections and is free for the next coordinator. In a run that can be resumed
(JetStream), it goes on with its part of the plan for the time --grace of the
run. On SIGTERM it closes its connections and leaves the swarm. Only the agent's
own command line says which server it starts: a coordinator can ask for a start,
but cannot choose the command.`
    )
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const { swarm, name, allow = [], source, procs, most } = flags
  checkRecording(flags)
  const nats = natsOf(flags)
  if (nats === null) throw new ValueError('no NATS server is given: add --nats nats://HOST:PORT, or set NATS_URL')
  const allowed = new AllowList(allow)
  checkAgent({ swarm, name, ...(source !== undefined && { sources: source }) })
  const terminal = new Terminal()
  const { signal } = interruption()
  const recorder = await recorderOf(flags)
  const bus = await natsBus(nats)
  const describe = (capacity: Capacity): string =>
    recorder === undefined
      ? `${describeCapacity(capacity)}; connects to ${allowed}`
      : `${recorder.startsServer ? 'starts and records' : 'records'} the server on port ${recorder.port}, ` +
        'makes no connections'
  try {
    const agent = await Agent.start({
      bus,
      swarm,
      name,
      allow: allowed,
      onEvent: (event) => terminal.line(line(event, { name, swarm, bus, describe })),
      ...(source !== undefined && { sources: source }),
      ...(procs !== undefined && { procs }),
      ...(most !== undefined && { most }),
      ...(recorder !== undefined && { recorder })
    })
    const leave = (): void => void agent.leave()
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave)
    const error = await agent.ended
    if (error !== undefined) throw error
  } finally {
    await bus.close()
  }
  terminal.line('Left')
}

/** @throws ValueError if an option for connecting is given to an agent that records, or the command is empty */
function checkRecording(flags: Flags): void {
  const { recordPort, recordCommand } = flags
  if (recordPort === undefined && recordCommand === undefined) return
  const idle = (['allow', 'source', 'procs', 'most'] as const).find((option) => flags[option] !== undefined)
  if (idle !== undefined) {
    const records = recordCommand === undefined ? '--record-port' : '--record-command'
    throw new ValueError(`${records} makes no connections: leave out --${idle}, or start another agent with it`)
  }
  if (recordCommand?.trim() === '') {
    throw new ValueError("--record-command is empty: give the command that starts the server, 'node server.js {port}'")
  }
}

/** Returns the recorder that the options ask for, if they ask for one. */
async function recorderOf({ recordPort, recordCommand }: Flags): Promise<SideRecorder | undefined> {
  if (recordCommand === undefined) return recordPort === undefined ? undefined : sideRecorder(recordPort)
  return sideRecorder(recordPort ?? ((await freePorts(1))[0] as number), shellCommand(recordCommand))
}

/** What the lines say about the agent itself. */
interface About {
  name: string
  swarm: string
  bus: Bus
  /** Says what this agent does. */
  describe: (capacity: Capacity) => string
}

/** Formats an event of the agent as a line. */
function line(event: AgentEvent, { name, swarm, bus, describe }: About): string {
  switch (event.event) {
    case 'offering':
      return `Agent ${name} of swarm ${swarm} (${bus.name}): ${describe(event.capacity)}`
    case 'leased':
      return `Taken by ${clean(event.who)}`
    case 'recording':
      return `${event.started ? 'Started and recording' : 'Recording'} the server on port ${event.port}`
    case 'recorded':
      return event.stopped ? `Ended the server on port ${event.port}` : 'The recording has ended'
    case 'pulse': {
      const { index, target, n, of, opened, lost, heldMs } = event.pulse
      const parts = [`${opened.connected} connected in ${duration(opened.ms)}, held ${duration(heldMs)}`]
      if (total(opened.failed) > 0) parts.push(`${total(opened.failed)} failed: ${causes(opened.failed)}`)
      if (total(lost) > 0) parts.push(`${total(lost)} lost: ${causes(lost)}`)
      return `Pulse ${index + 1}, ${n} of ${of} to ${clean(target)}: ${parts.join('; ')}`
    }
    case 'alone':
      return `Going on without orders of ${clean(event.who)}, for up to ${duration(event.grace)}`
    case 'resumed':
      return `Resumed by ${clean(event.who)}`
    case 'freed':
      return `Free: ${clean(event.why)}${event.closed > 0 ? `; closed ${event.closed}` : ''}`
    case 'refused':
      return `Refused: ${clean(event.reason)}`
    case 'dropped':
      return `Dropped ${clean(event.reason)}`
    case 'away':
      return `${bus.name} is away`
    case 'back':
      return `${bus.name} is back`
  }
}
