/** `ebb agent`: lets this machine make connections for a swarm, or record the server on it. */
import { hostname } from 'node:os'
import { Command } from 'commander'
import { sideRecorder } from '../../experiment/side-recorder.js'
import { total } from '../../pulse/causes.js'
import { Agent, checkAgent } from '../../pulse/swarm/agent.js'
import type { AgentEvent } from '../../pulse/swarm/agent-options.js'
import { AllowList } from '../../pulse/swarm/allow.js'
import type { Bus } from '../../pulse/swarm/bus.js'
import { describeCapacity } from '../../pulse/swarm/capacity.js'
import type { Capacity } from '../../pulse/swarm/messages.js'
import { natsBus } from '../../pulse/swarm/nats/nats.js'
import { duration } from '../../units/format.js'
import { clean } from '../../units/text.js'
import { NATS_ENVIRONMENT, type NatsFlags, natsOf, natsOptions } from '../options/nats.js'
import { parsePort, parsePositive, ValueError } from '../options/values.js'
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
  return natsOptions(command)
    .addHelpText(
      'after',
      `
${NATS_ENVIRONMENT}

Examples:
  ebb agent --nats nats://10.0.0.1:4222 --swarm lab --allow 10.0.0.5:3033
  ebb agent --nats nats://10.0.0.1:4222 --swarm lab --record-port 3033

If an agent hears nothing from its coordinator for 3 s, it closes its
connections and is free for the next coordinator. On SIGTERM it closes them and
leaves the swarm.`
    )
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const { swarm, name, allow = [], source, procs, most, recordPort } = flags
  if (recordPort !== undefined) {
    const idle = (['allow', 'source', 'procs', 'most'] as const).find((option) => flags[option] !== undefined)
    if (idle !== undefined) {
      throw new ValueError(`--record-port makes no connections: leave out --${idle}, or start another agent with it`)
    }
  }
  const nats = natsOf(flags)
  if (nats === null) throw new ValueError('no NATS server is given: add --nats nats://HOST:PORT, or set NATS_URL')
  const allowed = new AllowList(allow)
  checkAgent({ swarm, name, ...(source !== undefined && { sources: source }) })
  const terminal = new Terminal()
  const { signal } = interruption()
  const bus = await natsBus(nats)
  const describe = (capacity: Capacity): string =>
    recordPort === undefined
      ? `${describeCapacity(capacity)}; connects to ${allowed}`
      : `records the server on port ${recordPort}, makes no connections`
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
      ...(recordPort !== undefined && { recorder: sideRecorder(recordPort) })
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
      return `Recording the server on port ${event.port}`
    case 'pulse': {
      const { index, target, n, of, opened, lost, heldMs } = event.pulse
      const parts = [`${opened.connected} connected in ${duration(opened.ms)}, held ${duration(heldMs)}`]
      if (total(opened.failed) > 0) parts.push(`${total(opened.failed)} failed: ${causes(opened.failed)}`)
      if (total(lost) > 0) parts.push(`${total(lost)} lost: ${causes(lost)}`)
      return `Pulse ${index + 1}, ${n} of ${of} to ${clean(target)}: ${parts.join('; ')}`
    }
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
