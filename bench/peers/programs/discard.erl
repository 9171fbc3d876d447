%% Holds a process for each connection, over gen_tcp, as its documentation shows.
%% Run: erl -noinput -run discard start PORT
-module(discard).
-export([start/1]).

start([Port]) ->
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary, {ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}, {backlog, 4096}
    ]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Holder = spawn(fun() -> receive yours -> drop(Socket) end end),
    gen_tcp:controlling_process(Socket, Holder),
    Holder ! yours,
    accept(Listener).

drop(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, _} -> drop(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.
