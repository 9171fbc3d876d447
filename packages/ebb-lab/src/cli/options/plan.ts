/** The options of `ebb pulse` and `ebb bench` that describe the pulses and how to connect. */
import type { Command } from 'commander'
import type { Plan } from '../../pulse/plan.js'
import { protocolSettings } from '../../pulse/protocols/settings.js'
import type { PulseOptions } from '../../pulse/pulse.js'
import type { Target } from '../../pulse/target.js'
import { defined } from '../../units/defined.js'
import { type ProtocolFlags, protocolOf, protocolOptions, typedAs } from './protocol.js'
import {
  either,
  parseCount,
  parsePerSecond,
  parsePositiveTime,
  parseProcs,
  parsePulses,
  parseShare,
  parseTime,
  ValueError
} from './values.js'

/** Values of the plan options. Times are milliseconds. */
export interface PlanFlags {
  big?: number
  iterations?: number
  bigSeparation?: number
  small?: number
  smallSeparation?: number
  linger?: number
  pulses?: number
}

/** Values of the connection options. */
export interface ConnectFlags extends ProtocolFlags {
  /** Connects per second. */
  rate?: number
  procs?: number
  source?: string[]
  /** Milliseconds. */
  timeout?: number
  close?: 'fin' | 'rst'
  payload?: string
  message?: string
  /** From 0 to 1. */
  active?: number
  expectEcho?: boolean
}

/**
 * Adds the plan options to a command. The help shows the values of `plan` as defaults.
 *
 * @param endless whether the command accepts pulses without end
 */
export function planOptions(command: Command, plan: Plan, endless = false): Command {
  const pulses = plan.pulses === Number.POSITIVE_INFINITY ? 'forever' : plan.pulses
  const seconds = (ms: number): string => `${ms / 1000}s`
  return command
    .optionsGroup('Pulses:')
    .option('--big <n>', `number of connections in a big pulse (default: ${plan.big})`, parseCount)
    .option('-i, --iterations <n>', `number of big pulses (default: ${plan.iterations})`, parseCount)
    .option(
      '--big-separation <time>',
      `pause after a big pulse; short form -bs (default: ${seconds(plan.bigSeparation)})`,
      parseTime
    )
    .option('--small <n>', `number of connections in a small pulse (default: ${plan.small})`, parseCount)
    .option(
      '--small-separation <time>',
      `pause between small pulses; short form -ss (default: ${seconds(plan.smallSeparation)})`,
      parseTime
    )
    .option('-l, --linger <time>', `how long to hold the connections (default: ${seconds(plan.linger)})`, parseTime)
    .option(
      '--pulses <n>',
      `number of small pulses after the big ones${endless ? ', or "forever"' : ''} (default: ${pulses})`,
      parsePulses
    )
}

/** Adds the connection options to a command. */
export function connectOptions(command: Command): Command {
  command
    .optionsGroup('Connections:')
    .option('--rate <n>', 'connects per second (default: as fast as the server accepts)', parsePerSecond)
    .option('--procs <n>', 'number of client processes (default: as many as the descriptor limit requires)', parseProcs)
    .option(
      '--source <address...>',
      'local addresses to connect from; put it after the server argument (default: automatic)'
    )
    .option('--timeout <time>', 'time limit for a connect and for an echo (default: 10s)', parsePositiveTime)
    .option('--close <how>', 'close connections by fin or rst (default: fin)', either('fin', 'rst'))
    .option('--message <text>', 'text that each active connection sends')
    .option('--payload <text>', 'the same as --message')
    .option('--active <share>', 'share of connections that send messages or requests (default: 100%)', parseShare)
    .option('--expect-echo', 'wait until the server has sent the message back')
  return protocolOptions(command)
}

/** Returns the part of the plan that was given. */
export function planOf(flags: PlanFlags): Partial<Plan> {
  const { big, iterations, bigSeparation, small, smallSeparation, linger, pulses } = flags
  return defined({ big, iterations, bigSeparation, small, smallSeparation, linger, pulses })
}

/**
 * Returns the connection options that were given.
 *
 * @param targets servers that the connections go to
 * @throws ValueError for options that do not fit each other; TypeError for one that does not fit a server
 */
export function connectOf(flags: ConnectFlags, targets: readonly Target[] = []): PulseOptions {
  const { rate, procs, source: sources, timeout, close, message, active, expectEcho = false } = flags
  const typed = message === undefined ? '--payload' : '--message'
  const payload = message ?? flags.payload
  if (message !== undefined && flags.payload !== undefined) {
    throw new ValueError('--payload is another name of --message: leave one of them out')
  }
  if (payload === '') throw new ValueError(`${typed} "": it must not be empty`)
  const protocol = protocolOf(flags)
  for (const target of targets) {
    if (payload === undefined && target.protocol !== 'http' && (active !== undefined || expectEcho)) {
      const option = active === undefined ? '--expect-echo' : '--active'
      throw new ValueError(`${option} needs data to send: add --message TEXT`)
    }
    const sent = { payload: payload ?? null, expectEcho }
    protocolSettings(target, protocol, sent, (option) => {
      return option === 'payload' && payload !== undefined ? typed : typedAs(option, flags)
    })
  }
  return defined({ rate, procs, sources, timeout, close, payload, active, expectEcho: flags.expectEcho, ...protocol })
}
