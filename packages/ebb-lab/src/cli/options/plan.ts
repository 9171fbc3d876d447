/** The options that say what the pulses are: the same in `ebb pulse` and `ebb bench`. */
import { type Command, InvalidArgumentError } from 'commander'
import type { Plan } from '../../pulse/plan.js'
import type { PulseOptions } from '../../pulse/pulse.js'
import { defined } from '../../units/defined.js'
import {
  either,
  parseCount,
  parseNumber,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseShare,
  parseTime,
  ValueError
} from './values.js'

/** A parser of {@link ValueError}s as commander wants it. */
export function arg<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      if (error instanceof ValueError) throw new InvalidArgumentError(error.message)
      throw error
    }
  }
}

/** The plan as far as it was given. */
export interface PlanFlags {
  big?: number
  iterations?: number
  bigSeparation?: number
  small?: number
  smallSeparation?: number
  linger?: number
  pulses?: number
}

export interface ConnectFlags {
  rate?: number
  procs?: number
  source?: string[]
  timeout?: number
  close?: 'fin' | 'rst'
  payload?: string
  active?: number
  expectEcho?: boolean
}

/** Adds the options of a plan, with the defaults that `plan` gives, for the help. */
export function planOptions(command: Command, plan: Plan): Command {
  const pulses = plan.pulses === Number.POSITIVE_INFINITY ? 'forever' : plan.pulses
  const s = (ms: number): string => `${ms / 1000} s`
  return command
    .option('--big <n>', `connections of a big pulse (default: ${plan.big})`, arg(parseCount))
    .option('-i, --iterations <n>', `big pulses (default: ${plan.iterations})`, arg(parseCount))
    .option(
      '--big-separation <time>',
      `after a big pulse; also -bs (default: ${s(plan.bigSeparation)})`,
      arg(parseTime)
    )
    .option('--small <n>', `connections of a small pulse (default: ${plan.small})`, arg(parseCount))
    .option(
      '--small-separation <time>',
      `between small pulses; also -ss (default: ${s(plan.smallSeparation)})`,
      arg(parseTime)
    )
    .option('-l, --linger <time>', `how long connections are held (default: ${s(plan.linger)})`, arg(parseTime))
    .option('--pulses <n>', `small pulses after the big ones, or forever (default: ${pulses})`, arg(parsePulses))
}

/** Adds the options that say how to connect. */
export function connectOptions(command: Command): Command {
  return command
    .option('--rate <n>', 'connects per second (default: as fast as the server answers)', arg(parseNumber))
    .option(
      '--procs <n>',
      'processes that hold the connections (default: what the descriptor limit asks for)',
      arg(parsePositive)
    )
    .option('--source <address...>', 'local addresses to connect from; behind the server (default: by itself)')
    .option('--timeout <time>', 'for a connect, or an awaited answer (default: 10 s)', arg(parsePositiveTime))
    .option('--close <how>', 'fin or rst (default: fin)', arg(either('fin', 'rst')))
    .option('--payload <text>', 'what active connections send once')
    .option('--active <share>', 'the share of connections that send it (default: 100%)', arg(parseShare))
    .option('--expect-echo', 'wait until the same bytes have come back')
}

/** What was given of a plan. */
export function planOf(flags: PlanFlags): Partial<Plan> {
  const { big, iterations, bigSeparation, small, smallSeparation, linger, pulses } = flags
  return defined({ big, iterations, bigSeparation, small, smallSeparation, linger, pulses })
}

/** What was given of how to connect. */
export function connectOf(flags: ConnectFlags): PulseOptions {
  const { rate, procs, source: sources, timeout, close, payload, active, expectEcho } = flags
  if (payload === undefined && (active !== undefined || expectEcho === true)) {
    throw new ValueError('--active and --expect-echo need something to send: add --payload TEXT')
  }
  return defined({ rate, procs, sources, timeout, close, payload, active, expectEcho })
}
