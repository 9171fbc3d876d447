/** The options that say where NATS is, and how it lets us in: the same for agents and co-ordinators. */
import type { Command } from 'commander'
import type { NatsOptions } from '../../pulse/swarm/nats/options.js'

export interface NatsFlags {
  nats?: string
  creds?: string
  nkey?: string
  user?: string
  password?: string
  token?: string
  tlsCa?: string
  tlsCert?: string
  tlsKey?: string
}

/** As NATS's own command line has them. */
const ENVIRONMENT = {
  nats: 'NATS_URL',
  creds: 'NATS_CREDS',
  nkey: 'NATS_NKEY',
  user: 'NATS_USER',
  password: 'NATS_PASSWORD',
  token: 'NATS_TOKEN',
  tlsCa: 'NATS_CA',
  tlsCert: 'NATS_CERT',
  tlsKey: 'NATS_KEY'
} as const satisfies Record<keyof NatsFlags, string>

export function natsOptions(command: Command): Command {
  return command
    .option('--nats <url>', 'nats://HOST:PORT, or tls://HOST:PORT; several with commas')
    .option('--creds <file>', 'NATS credentials')
    .option('--nkey <file>', 'the seed of an nkey')
    .option('--user <name>', 'and --password, or --token: see the environment')
    .option('--password <text>')
    .option('--token <text>')
    .option('--tls-ca <file>', "PEM: who signed the server's certificate")
    .option('--tls-cert <file>', 'PEM: a certificate of ours, with --tls-key')
    .option('--tls-key <file>')
}

/** For the help: what others can read off a command line is better put there. */
export const NATS_ENVIRONMENT = `The environment says the same, and others cannot read it: NATS_URL, NATS_CREDS,
NATS_NKEY, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CA, NATS_CERT, NATS_KEY.`

/** What was given, on the command line or in the environment; null: no NATS. */
export function natsOf(flags: NatsFlags): NatsOptions | null {
  const given = (name: keyof NatsFlags): string | undefined =>
    flags[name] ?? (process.env[ENVIRONMENT[name]] || undefined)
  const url = given('nats')
  if (url === undefined) return null
  const options: NatsOptions = { url }
  for (const name of ['creds', 'nkey', 'user', 'password', 'token', 'tlsCa', 'tlsCert', 'tlsKey'] as const) {
    const value = given(name)
    if (value !== undefined) options[name] = value
  }
  return options
}
