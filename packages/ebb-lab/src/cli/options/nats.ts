/** The options that say where NATS is and how to authenticate. Agents and coordinators have the same options. */
import type { Command } from 'commander'
import type { NatsOptions } from '../../pulse/swarm/nats/options.js'
import { ValueError } from './values.js'

/** Values of the NATS options. */
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

/** Environment variables in place of the options, with the names that NATS's own command line uses. */
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

/** Adds the NATS options to a command. */
export function natsOptions(command: Command): Command {
  return command
    .optionsGroup('NATS:')
    .option('--nats <url>', 'nats://HOST:PORT or tls://HOST:PORT; separate several with commas')
    .option('--creds <file>', 'credentials file')
    .option('--nkey <file>', 'file with the seed of an nkey')
    .option('--user <name>', 'user name; needs --password')
    .option('--password <text>', 'password of --user')
    .option('--token <text>', 'token, in place of a user name')
    .option('--tls-ca <file>', "PEM file: the authority that signed the server's certificate")
    .option('--tls-cert <file>', 'PEM file: client certificate; needs --tls-key')
    .option('--tls-key <file>', 'PEM file: private key of the client certificate')
}

/** Help text: a password in the environment is not visible to other users of the machine, unlike a command line. */
export const NATS_ENVIRONMENT = `These environment variables replace the NATS options and keep secrets out of the
process list: NATS_URL, NATS_CREDS, NATS_NKEY, NATS_USER, NATS_PASSWORD,
NATS_TOKEN, NATS_CA, NATS_CERT, NATS_KEY.`

const NATS_FLAGS = Object.keys(ENVIRONMENT) as (keyof NatsFlags)[]

/** Returns the first NATS option that the command line has, as it is typed; undefined if it has none. */
export function givenNatsOption(flags: NatsFlags): string | undefined {
  const name = NATS_FLAGS.find((name) => flags[name] !== undefined)
  return name === undefined ? undefined : `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/**
 * Returns the NATS options of the command line, else of the environment; null if neither gives the URL of a server.
 *
 * @throws ValueError if an option would have no effect without another
 */
export function natsOf(flags: NatsFlags): NatsOptions | null {
  const given = (name: keyof NatsFlags): string | undefined =>
    flags[name] ?? (process.env[ENVIRONMENT[name]] || undefined)
  const url = given('nats')
  if (url === undefined) {
    const without = givenNatsOption(flags)
    if (without === undefined) return null
    throw new ValueError(`${without} is for a NATS server: add --nats nats://HOST:PORT, or set NATS_URL`)
  }
  const options: NatsOptions = { url }
  for (const name of ['creds', 'nkey', 'user', 'password', 'token', 'tlsCa', 'tlsCert', 'tlsKey'] as const) {
    const value = given(name)
    if (value !== undefined) options[name] = value
  }
  const { user, password, tlsCert, tlsKey } = options
  // The URL may have the other one.
  if (!url.includes('@') && (user === undefined) !== (password === undefined)) {
    throw new ValueError('--user and --password go together: give both, or --token TEXT in place of them')
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new ValueError('--tls-cert and --tls-key go together: give both')
  }
  return options
}
