/** Mistakes on the command line: one sentence, exit code 1, nothing started, and no stack trace unless DEBUG is set. */
import { expect, test } from 'vitest'
import { ebb, run, server } from './support/cli.js'

const LONG = 'n'.repeat(300)

const WRONG: [args: string[], says: RegExp][] = [
  [['nope'], /unknown command 'nope'.*: run "ebb --help"$/m],
  [['help', 'nope'], /unknown command 'nope'/],
  [['toString'], /unknown command 'toString'/],
  [['serve', '--nope'], /unknown option '--nope'/],
  [['serve', '--port'], /argument missing/],
  [['serve', '--port', '99999'], /from 0 to 65535/],
  [['serve', '--port', '-1'], /from 0 to 65535/],
  [['serve', '--host', ''], /an address or a name/],
  [['serve', '--host', 'a b', '--port', '0'], /no address is known for the host "a b"/],
  [['serve', '--every', '0'], /1 or more/],
  [['serve', '--mode', 'foo'], /park or net/],
  [['serve', 'extra'], /^ebb: too many arguments for 'serve' \(it takes 0, and got 1\): run "ebb serve --help"$/m],
  [['serve', '--prot', '1'], /^ebb: unknown option '--prot' \(did you mean --port\?\): run "ebb serve --help"$/m],
  [['report', '/'], /^ebb: ERR_REPORT_EMPTY: the folder \/ has no recording: give a folder with \.ndjson files$/m],
  [['pulse'], /missing required argument 'server': run "ebb pulse --help"$/m],
  [['pulse', 'localhost'], /HOST:PORT/],
  [['pulse', '127.0.0.1:99999'], /a port is a number from 1 to 65535, not 99999/],
  [['pulse', 'unix:'], /HOST:PORT/],
  [['pulse', `unix:${LONG}`], /107 bytes/],
  [['pulse', '1', '--linger', '-1'], /a time is a number of seconds/],
  [['pulse', '1', '--linger', '1e3'], /a time is a number of seconds/],
  [['pulse', '1', '--linger', '9999h'], /linger: it must be a week at most/],
  [['pulse', '1', '--big', '99999999999'], /big: it must be 10,000,000 connections at most/],
  [['pulse', '1', '--big', '9'.repeat(400)], /a whole number/],
  [['pulse', '1', '--big', '1.5'], /a whole number/],
  [['pulse', '1', '--procs', '0'], /1 or more/],
  [['pulse', '1', '--procs', '1000000'], /from 1 to 256/],
  [['pulse', '1', '--rate', '0'], /above 0/],
  [['pulse', '1', '--timeout', '0'], /must be above 0/],
  [['pulse', '1', '--close', 'slowly'], /fin or rst/],
  [['pulse', '1', '--active', '10%'], /add --message/],
  [['pulse', '1', '--payload', 'x', '--active', '101%'], /a share is/],
  [['pulse', '1', '--source', 'here'], /must be an IPv4 or IPv6 address, not "here"/],
  [['pulse', '1', '--procs', '3', '--source', 'here'], /must be an IPv4 or IPv6 address, not "here"/],
  [['pulse', '1', '--source', '::1'], /one is IPv4, the other IPv6/],
  [['pulse', '/run/a', '--source', '127.0.0.1'], /no source addresses/],
  [['pulse', '1', '--creds', 'x'], /--creds is for a swarm: add --swarm NAME/],
  [['pulse', '1', '--tls-ca', 'x'], /--tls-ca is for a swarm/],
  [['pulse', '1', '--swarm', 'x', '--token', 'y'], /--token is for a NATS server: add --nats/],
  [['pulse', '1', '--swarm', 'x', '--nats', 'a', '--user', 'y'], /--user and --password go together/],
  [['agent', '--swarm', 'x', '--nats', 'a', '--password', 'y'], /--user and --password go together/],
  [['agent', '--swarm', 'x', '--nats', 'a', '--tls-key', 'y'], /--tls-cert and --tls-key go together/],
  [
    ['agent', '--swarm', 'x', '--nats', 'a', '--nkey', '/no/such'],
    /cannot read \/no\/such: no such file or directory \(ENOENT\)$/m
  ],
  [
    ['agent', '--swarm', 'x', '--nats', 'no.such.invalid'],
    /no address is known for the host|the name server did not answer/
  ],
  [['agent', '--swarm', 'x', '--nats', 'a', '--record-port', '1', '--most', '2'], /leave out --most/],
  [['bench', '--swarm', 'x', '--server', 'h:1', '--', 'true'], /--server is the only server of a run/],
  [['bench', '--swarm', 'x', '--server', 'h:1', '--port', '1'], /--server is the only server of a run/],
  [['bench', '--name', 'x', '--target', 'y=true'], /--name is for a server given by/],
  [['bench', '--json', '--markdown'], /leave one of them out/],
  [['report', 'x', '--json', '--markdown'], /leave one of them out/],
  [['box', 'x', '--json', '--markdown'], /leave one of them out/],
  [['box', 'x', '--dry-run', '--json'], /--dry-run prints plain text only/],
  [
    ['bench', '--', 'node x.js {port}'],
    /no such program: give|no such program; give the program and its arguments without quotes/
  ],
  [
    ['record', '--pid', '1', '--out', '/no/such/x'],
    /^ebb: ENOENT: cannot write the recording to \/no\/such\/x: no such file or directory; make/
  ],
  [['record', '--pid', '1', '--every', '9999h'], /from 1ms to 1h/],
  [['record', '--pid', '1', '--duration', '0'], /must be above 0/],
  [['bench', '--pulses', 'forever'], /has no end/],
  [['bench', '--linger', '300h'], /linger: it must be a week at most/],
  [['bench', '--pid', '4194305'], /there is no process 4194305/],
  [['bench', '--target', 'x=true', '--target', 'x=true'], /two servers are called "x"/],
  [['bench', '--target', `🦊/${LONG}=true`], /ended before it listened/]
]

test.concurrent.each(WRONG)('ebb %j', async (args, says) => {
  const cleanUps: (() => Promise<void>)[] = []
  try {
    const { code, stdout, stderr } = await run(args, { onTestFinished: (cleanUp) => cleanUps.push(cleanUp) })
    expect(stderr).toMatch(says)
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).not.toMatch(/^ {4}at /m)
    expect(stderr).toMatch(/^ebb: [^\n]+\n$/)
  } finally {
    for (const cleanUp of cleanUps) await cleanUp()
  }
})

test('DEBUG=1 prints the stack trace', async () => {
  const { code, stderr } = await run(['pulse', '1', '--source', 'here'], { env: { DEBUG: '1' } })
  expect(code).toBe(1)
  expect(stderr).toMatch(/^ {4}at /m)
})

test('"ebb help pulse" and "ebb pulse --help" print the same', async () => {
  const [one, other] = await Promise.all([run(['help', 'pulse']), run(['pulse', '--help'])])
  expect(one.stdout).toContain('--big-separation')
  expect(one).toEqual(other)
})

test('Ctrl-C between two pulses ends the run and prints its table', async () => {
  const { port } = await server()
  const pulsing = ebb(['pulse', `${port}`, '--big', '5', '--linger', '0', '--big-separation', '1h'])
  await pulsing.said(/closed/)
  pulsing.kill('SIGINT')
  const { code, stdout } = await pulsing.ended
  expect(code).toBe(0)
  expect(stdout).toMatch(/^connected +5$/m)
})
